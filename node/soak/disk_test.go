//go:build soak

package soak

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/soak/rig"
)

const (
	diskBytes  = 128 << 20
	topicProbe = "soak-probe"
)

// smallDisk mounts a file system of diskBytes and returns its directory. It needs root; whoever is not is
// told so, root has no excuse.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("mounting a small file system needs root")
	}
	dir := t.TempDir()
	image, mnt := filepath.Join(dir, "image"), filepath.Join(dir, "mnt")
	if err := errors.Join(os.WriteFile(image, nil, 0o600), os.Truncate(image, diskBytes), os.Mkdir(mnt, 0o700)); err != nil {
		t.Fatal(err)
	}
	err := command(t, "mkfs.ext4", "-q", "-m", "0", image)
	if err == nil {
		err = command(t, "mount", "-o", "loop", image, mnt)
	}
	if err != nil {
		t.Logf("no ext4 on a loop device, a tmpfs instead: %v", err)
		if err := command(t, "mount", "-t", "tmpfs", "-o", fmt.Sprintf("size=%d", diskBytes), "tmpfs", mnt); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(mnt, 0); err != nil {
			t.Errorf("unmount %s: %v", mnt, err)
		}
	})
	return mnt
}

func command(t *testing.T, name string, args ...string) error {
	t.Helper()
	// PATH of a service or a container often lacks the directory of mkfs.
	cmd := exec.CommandContext(t.Context(), name, args...)
	if full, err := exec.LookPath(filepath.Join("/sbin", name)); err == nil {
		cmd = exec.CommandContext(t.Context(), full, args...)
	}
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(cmd.Args, " "), err, text)
	}
	return nil
}

// free returns what the file system at dir has left.
func free(t *testing.T, dir string) int64 {
	t.Helper()
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * int64(st.Bsize) //nolint:unconvert // the types differ between machines
}

// fill writes a file that leaves at most keep bytes of the file system; 0 fills it to the last block.
func fill(t *testing.T, dir string, keep int64) (path string) {
	t.Helper()
	f, err := os.CreateTemp(dir, "filler-")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for size := len(block); free(t, dir) > keep; {
		if _, err := f.Write(block[:size]); errors.Is(err, syscall.ENOSPC) {
			if size /= 2; size < 512 {
				break
			}
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil && !errors.Is(err, syscall.ENOSPC) {
		t.Fatal(err)
	}
	return f.Name()
}

// keepsAll are the settings of topics that give nothing up when space is short: compacted, but never yet.
var keepsAll = map[string]string{"cleanup.policy": "compact", "min.compaction.lag.ms": "9223372036854775807"}

func TestFullDiskHoldsBackAndRecovers(t *testing.T) {
	for _, c := range []struct {
		name    string
		minFree string // below it the node refuses by itself
		keep    int64  // what the filler leaves
		restart bool   // the node is killed and started while the disk is full
	}{
		{"below the reserve", "32MiB", 16 << 20, false},
		{"not a block left", "0", 0, false},
		{"restarted below the reserve", "32MiB", 16 << 20, true},
		{"restarted without a block", "0", 0, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := smallDisk(t)
			n := newNode(t)
			n.Data = filepath.Join(dir, "data")
			conf := config("absorb_interval = \"100ms\"\n")
			conf["log"] += fmt.Sprintf("min_free_bytes = %q\n", c.minFree)
			serve(t, n, conf)
			configureTopics(t, n.Kafka, partitions, keepsAll, topics...)
			configureTopics(t, n.Kafka, 1, keepsAll, topicProbe)
			l := newLoad(2000)
			l.start(t.Context(), n)
			pause(t, 500*time.Millisecond)

			filler := fill(t, dir, c.keep)
			untilRefused(t, n, l)
			if c.restart {
				if err := n.Kill(); err != nil {
					t.Fatal(err)
				}
				if err := n.Start(t.Context()); err != nil {
					t.Fatal(err)
				}
				if _, err := n.Serves(t.Context(), readyTimeout); err != nil {
					t.Fatal(err)
				}
				untilRefused(t, n, l)
			}
			heldBack(t, n, l)
			if err := os.Remove(filler); err != nil {
				t.Fatal(err)
			}
			waitUntilItGoesOn(t, l)
			finish(t, n, l)
			l.report(t)
		})
	}
}

// untilRefused waits until a plain producer that does not try again is told KAFKA_STORAGE_ERROR, and nothing else
// than that. The load goes on meanwhile: what is free in files that exist is used up.
func untilRefused(t *testing.T, n *rig.Node, l *load) {
	t.Helper()
	cl := newClient(t, n.Kafka, kgo.DisableIdempotentWrite(), kgo.RecordRetries(0), kgo.ProducerLinger(0))
	defer cl.Close()
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		err := cl.ProduceSync(ctx, &kgo.Record{Topic: topicProbe, Key: []byte("probe"), Value: make([]byte, 1000)}).FirstErr()
		cancel()
		if errors.Is(err, kerr.KafkaStorageError) {
			return
		}
		if err != nil {
			t.Fatalf("producing to a full disk: %v, want KAFKA_STORAGE_ERROR", err)
		}
		if err := l.failure(); err != nil {
			t.Fatal(err)
		}
		if time.Now().After(end) {
			t.Fatalf("the disk is full (%d bytes left) and producing goes on", free(t, filepath.Dir(n.Data)))
		}
	}
}

// heldBack checks for a second that nothing is acknowledged, no device is thrown out, and everything that
// was acknowledged can be read.
func heldBack(t *testing.T, n *rig.Node, l *load) {
	t.Helper()
	pause(t, 300*time.Millisecond) // what was durable before may still be acknowledged
	before, connections := l.acked(), map[string]int{}
	for _, d := range l.devices {
		connections[d.Name] = d.Connections()
	}
	if err := l.verify(within(t, 20*time.Second), n); err != nil {
		t.Errorf("reading from a full disk: %v", err)
	}
	pause(t, time.Second)
	for _, d := range l.devices {
		if d.Acked() != before[d.Name] {
			t.Errorf("%s: %d messages acknowledged while producing is refused", d.Name, d.Acked()-before[d.Name])
		}
		if d.Connections() != connections[d.Name] {
			t.Errorf("%s was thrown out %d times instead of being held back", d.Name, d.Connections()-connections[d.Name])
		}
		if d.Sent() == d.Acked() {
			t.Errorf("%s has nothing in flight: it is not held back", d.Name)
		}
	}
}

// waitUntilItGoesOn waits until every source is acknowledged more than before: nobody restarted anything.
func waitUntilItGoesOn(t *testing.T, l *load) {
	t.Helper()
	before, from := l.acked(), time.Now()
	for end := from.Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		var waiting []string
		for source, n := range l.acked() {
			if n <= before[source] {
				waiting = append(waiting, source)
			}
		}
		if len(waiting) == 0 {
			t.Logf("everybody was acknowledged again %v after space returned", time.Since(from).Round(time.Millisecond))
			return
		}
		if time.Now().After(end) {
			t.Fatalf("20 s after space returned nothing is acknowledged to %v", waiting)
		}
		if err := l.failure(); err != nil {
			t.Fatal(err)
		}
	}
}
