package child

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/culvert-mq/culvert/node/admin"
)

// NodeOptions say what node StartNode starts.
type NodeOptions struct {
	Binary string // the program culvert
	Dir    string // for its configuration and its data; kept
	Name   string
	// Settings are added to the configuration: lines by section, such as "commit" -> `linger = "50ms"`. The section
	// "" stands last, for tables in arrays.
	Settings map[string]string
}

// Node is a running node of this program.
type Node struct {
	*Process
	MQTT  string // addresses
	Kafka string
	HTTP  string
	Data  string // directory
}

const startTimeout = time.Minute

// StartNode starts a node and waits until it is ready. Started again with the same directory, it has its data back.
func StartNode(ctx context.Context, o NodeOptions) (*Node, error) {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, err
	}
	http, err := FreeAddr(ctx)
	if err != nil {
		return nil, err
	}
	n := &Node{HTTP: http, Data: filepath.Join(o.Dir, "data")}
	file := filepath.Join(o.Dir, "culvert.toml")
	if err := os.WriteFile(file, []byte(configuration(o, n)), 0o600); err != nil {
		return nil, err
	}
	if n.Process, err = Start("node "+o.Name, o.Binary, "run", "--config", file); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	if err := n.WaitFor(ctx, n.ready); err != nil {
		n.Kill()
		return nil, err
	}
	return n, nil
}

// configuration is the node's TOML file.
func configuration(o NodeOptions, n *Node) string {
	sections := map[string]string{
		"node":  "name = " + strconv.Quote(o.Name) + "\ndata_dir = " + strconv.Quote(n.Data),
		"mqtt":  `listen = "127.0.0.1:0"`,
		"kafka": `listen = "127.0.0.1:0"`,
		"http":  "listen = " + strconv.Quote(n.HTTP) + "\npprof = true",
	}
	for section, lines := range o.Settings {
		if section != "" {
			sections[section] = strings.TrimSpace(sections[section] + "\n" + lines)
		}
	}
	var b strings.Builder
	for _, section := range slices.Sorted(maps.Keys(sections)) {
		fmt.Fprintf(&b, "[%s]\n%s\n\n", section, sections[section])
	}
	b.WriteString(o.Settings[""])
	return b.String()
}

var errNotReady = errors.New("not ready")

// ready reads the node's addresses once it serves.
func (n *Node) ready(ctx context.Context) error {
	s, err := n.Status(ctx)
	if err != nil {
		return err
	}
	if !s.Ready {
		return fmt.Errorf("%w: %s", errNotReady, strings.Join(s.NotReady, ", "))
	}
	for _, l := range s.Listeners {
		switch l.Protocol {
		case "mqtt":
			n.MQTT = l.Address
		case "kafka":
			n.Kafka = l.Address
		}
	}
	if n.MQTT == "" || n.Kafka == "" {
		return fmt.Errorf("%w: it does not say where it listens", errNotReady)
	}
	return nil
}

// Status asks the node for its status.
func (n *Node) Status(ctx context.Context) (*admin.Status, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	return admin.FetchStatus(ctx, n.HTTP)
}

// FreeAddr is an address on loopback that nobody listens on now.
func FreeAddr(ctx context.Context) (string, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer ln.Close()
	return ln.Addr().String(), nil
}

// CanConnect is a condition for WaitFor: somebody listens on addr.
func CanConnect(addr string) func(context.Context) error {
	return func(ctx context.Context) error {
		c, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", addr)
		if err == nil {
			c.Close()
		}
		return err
	}
}
