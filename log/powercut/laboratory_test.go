//go:build powercut

package powercut

import (
	"math/rand/v2"
	"strings"
	"testing"
)

// quietLife is a driver that nobody kills.
func quietLife(r *rand.Rand, hasty bool) []life {
	opt := drawOptions(r)
	return []life{{cfg: driverConfig{Seed: r.Uint64(), Steps: 120, Workers: 2, Options: opt, Hasty: hasty}}}
}

// A laboratory in which nothing ever fails would say nothing.
func TestRecordsAcknowledgedBeforeTheirSyncAreFoundMissing(t *testing.T) {
	r := rand.New(rand.NewPCG(seeded(t), 3<<32))
	s := recorded(t, recorderConfig{Base: base(t, storePath), Seed: r.Uint64()}, quietLife(r, true))
	_, failures, err := s.replay(s.drawCuts(r, 300), ram(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range failures {
		if strings.Contains(f.err.Error(), "acknowledged records are lost") {
			return
		}
	}
	t.Errorf("a driver that notes records too early passes: %v", failures)
}

func TestMissingSyncsAreFound(t *testing.T) {
	r := rand.New(rand.NewPCG(seeded(t), 4<<32))
	s := recorded(t, recorderConfig{Base: base(t, storePath), Seed: r.Uint64()}, quietLife(r, false))
	for what, lost := range map[string]func(path string) bool{
		"the journal":   func(path string) bool { return strings.HasPrefix(path, "/"+storePath+"/journal") },
		"segments":      func(path string) bool { return strings.Contains(path, ".seg") },
		"the directory": func(path string) bool { return path == "/"+storePath },
	} {
		_, failures, err := s.replay(s.drawCuts(r, 300), ram(t), func(d *disk) { d.lost = lost })
		if err != nil {
			t.Fatal(err)
		}
		if len(failures) == 0 {
			t.Errorf("a store that does not sync %s passes", what)
		}
	}
}
