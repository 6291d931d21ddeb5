package quorum

import (
	"errors"
	"fmt"

	"github.com/culvert-mq/culvert/log/boltfile"
)

// walkBolt calls visit for every bucket of a raft log's file that can be reached, with no key, and then for every key in
// it, in order; and returns what could not be read. The slices lie in data.
func walkBolt(data []byte, visit func(bucket, key, value []byte)) error {
	metas, err := boltfile.Metas(data)
	if len(metas) == 0 {
		return err
	}
	return boltfile.Walk(data, metas[0], func(path [][]byte, key, value []byte) error {
		switch {
		case len(path) == 0:
			return fmt.Errorf("key %.20q outside a bucket", key)
		case len(path) > 1:
			return errors.New("a bucket in a bucket")
		}
		visit(path[0], key, value)
		return nil
	})
}

// pageSize is that of the raft log's file.
const pageSize = boltfile.PageSize
