package load

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/load/child"
)

// peer is a broker of the comparison.
type peer struct {
	name string
	addr string // MQTT
	proc *child.Process
}

// peers starts what is installed of the others; what is missing is reported.
func (s *suite) peers(ctx context.Context) (found []peer, stop func(), err error) {
	stop = func() {
		for _, p := range found {
			_ = p.proc.Stop(10 * time.Second)
		}
	}
	for _, b := range []struct {
		name, program string
		start         func(context.Context, string) (peer, error)
	}{{"mosquitto", s.Mosquitto, s.startMosquitto}, {"nats", s.NATS, s.startNATS}} {
		path, err := findProgram(b.program)
		if err != nil {
			s.skip("comparison with %s: %v", b.name, err)
			continue
		}
		p, err := b.start(ctx, path)
		if err != nil {
			stop()
			return nil, nil, err
		}
		found = append(found, p)
	}
	return found, stop, nil
}

// findProgram looks in PATH, and where Debian keeps daemons.
func findProgram(name string) (string, error) {
	path, err := exec.LookPath(name)
	if err == nil || name == "" || filepath.Base(name) != name {
		return path, err
	}
	if daemon, derr := exec.LookPath("/usr/sbin/" + name); derr == nil {
		return daemon, nil
	}
	return "", err
}

// startMosquitto starts a Mosquitto that stores nothing and is not throttled.
func (s *suite) startMosquitto(ctx context.Context, program string) (peer, error) {
	addr, err := child.FreeAddr(ctx)
	if err != nil {
		return peer{}, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return peer{}, err
	}
	conf := fmt.Sprintf(`listener %s 127.0.0.1
allow_anonymous true
persistence false
max_inflight_messages 0
max_queued_messages 0
max_connections -1
log_dest stderr
log_type error
log_type warning
`, port)
	return s.startPeer(ctx, "mosquitto", addr, conf, func(file string) (*child.Process, error) {
		return child.Start("mosquitto", program, "-c", file)
	})
}

// startNATS starts a NATS server whose MQTT messages JetStream stores with its default, lazy sync.
func (s *suite) startNATS(ctx context.Context, program string) (peer, error) {
	addr, err := child.FreeAddr(ctx)
	if err != nil {
		return peer{}, err
	}
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return peer{}, err
	}
	conf := fmt.Sprintf(`server_name: bench
listen: "127.0.0.1:-1"
jetstream { store_dir: %q }
mqtt { host: "127.0.0.1", port: %s }
`, filepath.Join(s.dir, "nats"), port)
	return s.startPeer(ctx, "nats", addr, conf, func(file string) (*child.Process, error) {
		return child.Start("nats-server", program, "-c", file)
	})
}

func (s *suite) startPeer(ctx context.Context, name, addr, conf string, start func(file string) (*child.Process, error)) (peer, error) {
	file := filepath.Join(s.dir, name+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		return peer{}, err
	}
	proc, err := start(file)
	if err != nil {
		return peer{}, err
	}
	waitCtx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	if err := proc.WaitFor(waitCtx, child.CanConnect(addr)); err != nil {
		proc.Kill()
		return peer{}, err
	}
	return peer{name: name, addr: addr, proc: proc}, nil
}
