//go:build soak

package soak

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

const bootRecords = 400

// Whatever file of a killed node is cut or overwritten, the node starts, says so, and stores again.
func TestBootsWhateverFileIsDamaged(t *testing.T) {
	rnd := chance(t)
	whole := newNode(t)
	// Nothing is absorbed before the kill: the journal is the only place that has it.
	conf := config("absorb_interval = \"1m\"\n")
	serve(t, whole, conf)
	createTopics(t, whole.Kafka, partitions, topicPlain)
	cl := newClient(t, whole.Kafka, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	writeNumbered(t, cl, 0, bootRecords)
	if err := whole.Kill(); err != nil {
		t.Fatal(err)
	}

	damages := []struct {
		name   string
		change func([]byte) []byte
	}{
		{"cut in half", func(b []byte) []byte { return b[:len(b)/2] }},
		{"empty", func([]byte) []byte { return nil }},
		{"zeros", func(b []byte) []byte { clear(b); return b }},
		{"noise", func(b []byte) []byte {
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			return b
		}},
		{"bits", func(b []byte) []byte {
			for i := rnd.IntN(64); i < len(b); i += 1 + rnd.IntN(500) {
				b[i] ^= 1 << rnd.IntN(8)
			}
			return b
		}},
		{"longer", func(b []byte) []byte { return append(b, make([]byte, 5000)...) }},
	}
	for _, file := range files(t, whole.Data) {
		for _, damage := range damages {
			t.Run(filepath.ToSlash(file)+"/"+damage.name, func(t *testing.T) {
				n := newNode(t)
				if err := os.CopyFS(n.Data, os.DirFS(whole.Data)); err != nil {
					t.Fatal(err)
				}
				rewrite(t, filepath.Join(n.Data, file), damage.change)
				serve(t, n, conf)
				told := strings.Contains(n.Log(), filepath.Base(file)) && strings.Contains(n.Log(), "level=ERROR")
				empty := filepath.Base(file) == "LOCK" || filepath.Base(file) == "reserve" // nothing is read from them
				if damage.name == "noise" && !empty && !told {
					t.Errorf("%s is noise and the log does not say so:\n%s", file, n.Log())
				}
				if filepath.Dir(file) == "meta" {
					// The log knows what it holds: no record goes with the metadata.
					if lost := readNumbered(t, n, bootRecords); lost > 0 {
						t.Errorf("%d records are lost", lost)
					}
				}
				createTopics(t, n.Kafka, 1, "afterwards")
				cl := newClient(t, n.Kafka)
				ctx := within(t, readyTimeout)
				if err := cl.ProduceSync(ctx, &kgo.Record{Topic: "afterwards", Value: []byte("v")}).FirstErr(); err != nil {
					t.Fatal(err)
				}
				if _, err := n.Stop(stopTimeout); err != nil {
					t.Fatal(err)
				}
				startNode(t, n)
				if to, err := ends(ctx, cl, "afterwards"); err != nil || to[0] != 1 {
					t.Errorf("the record is not there after another start: %v, %v", to, err)
				}
			})
		}
	}
}

// files lists the files below dir, relative to it.
func files(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		list = append(list, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}
