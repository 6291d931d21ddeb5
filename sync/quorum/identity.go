package quorum

import (
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"strings"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/sync/meta"
)

// identity is who the directory belongs to. It is stored beside the metadata so that a node that lost
// all of that still is the node it was, in the cluster it was in.
type identity struct {
	node    int32
	cluster string // empty before the cluster has an id
}

const (
	identityFile    = "identity"
	identityVersion = 1
	maxIdentity     = 4096
)

var errIdentity = errors.New("damaged identity")

func (id identity) encode() []byte {
	body := fmt.Sprintf("culvert-quorum %d\nnode %d\ncluster %s\n", identityVersion, id.node, id.cluster)
	return fmt.Appendf(nil, "%scrc32c %08x\n", body, crc32.Checksum([]byte(body), castagnoli))
}

func decodeIdentity(b []byte) (identity, error) {
	var id identity
	body, sum, ok := strings.Cut(string(b), "crc32c ")
	if !ok || sum != fmt.Sprintf("%08x\n", crc32.Checksum([]byte(body), castagnoli)) {
		return id, fmt.Errorf("%w: CRC mismatch", errIdentity)
	}
	var version int
	if _, err := fmt.Sscanf(body, "culvert-quorum %d\n", &version); err != nil {
		return id, fmt.Errorf("%w: %w", errIdentity, err)
	}
	if version > identityVersion {
		return id, newerFormat("identity", version)
	}
	lines := strings.Split(body, "\n")
	if len(lines) != 4 || version < 1 {
		return id, fmt.Errorf("%w: %d lines", errIdentity, len(lines))
	}
	if _, err := fmt.Sscanf(lines[1], "node %d", &id.node); err != nil {
		return id, fmt.Errorf("%w: %w", errIdentity, err)
	}
	id.cluster, ok = strings.CutPrefix(lines[2], "cluster ")
	if !ok || id.cluster != "" && meta.CheckClusterID(id.cluster) != nil {
		return id, fmt.Errorf("%w: cluster id %.40q", errIdentity, id.cluster)
	}
	return id, nil
}

// readIdentity returns false where there is no file.
func readIdentity(path string) (identity, bool, error) {
	b, err := fsx.ReadFile(path, maxIdentity)
	if errors.Is(err, fs.ErrNotExist) {
		return identity{}, false, nil
	}
	if err != nil {
		return identity{}, false, err
	}
	id, err := decodeIdentity(b)
	return id, err == nil, err
}
