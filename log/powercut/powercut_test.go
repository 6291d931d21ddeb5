//go:build powercut

package powercut

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// roundCuts is how many cuts are made of one recorded session.
const roundCuts = 500

// seeded returns the run's seed and prints it.
func seeded(t *testing.T) uint64 {
	t.Helper()
	seed := *seedFlag
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	return seed
}

// ram returns a directory in memory where there is one: what lies on it is a disk only to the model.
func ram(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "powercut-") //nolint:usetesting // memory, where t.TempDir is a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// base makes a directory that holds what is on the disk before the first driver begins: an empty directory.
func base(t *testing.T, path string) string {
	t.Helper()
	dir := filepath.Join(ram(t), "base")
	if err := os.MkdirAll(filepath.Join(dir, path), 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

// recorded records a session and reads it. Where the store told a driver something wrong, the session is what went on
// before, with the error.
func recorded(t *testing.T, cfg recorderConfig, lives []life) *session {
	t.Helper()
	path, err := recordLives(t.Context(), ram(t), cfg, lives)
	if errors.Is(err, errUnmountable) {
		needMount(t, err)
	}
	if err != nil {
		t.Fatalf("%v\nthe journal: %s", err, keep(t, path))
	}
	s, err := readSession(path)
	if err != nil {
		t.Fatal(err)
	}
	s.path = path
	return s
}

// keep copies a session's journal to where it stays, and returns its path.
func keep(t *testing.T, path string) string {
	t.Helper()
	if path == "" {
		return "none"
	}
	from, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer from.Close()
	to, err := os.CreateTemp(*keepFlag, "powercut-*.session")
	if err != nil {
		return err.Error()
	}
	defer to.Close()
	if _, err := io.Copy(to, from); err != nil {
		return err.Error()
	}
	return to.Name()
}

// report fails the test over the cuts that a store did not stand.
func report(t *testing.T, s *session, failures []failure, err error) {
	t.Helper()
	if err == nil && len(failures) == 0 {
		return
	}
	path := s.path
	if path != *sessionFlag {
		path = keep(t, path)
	}
	if err != nil {
		t.Errorf("%v\nthe session: %s", err, path)
	}
	for _, f := range failures {
		t.Errorf("%s\nonce more: make powercut ARGS='-test.run TestRecordedSession -session %s -at %d -variant %v'", s.describe(f), path, f.at, f.variant)
	}
	t.FailNow()
}

// drawLives chooses the drivers of one session: all but the last are killed, and mostly the last one too.
func drawLives(r *rand.Rand, n int) []life {
	opt := drawOptions(r)
	lives := make([]life, n)
	for i := range lives {
		lives[i] = life{
			cfg:  driverConfig{Seed: r.Uint64(), Steps: 40 + r.IntN(80), Workers: 1 + r.IntN(3), Options: opt},
			kill: 2 + int(r.ExpFloat64()*500),
		}
		if r.IntN(4) == 0 { // another journal is made where the size is another
			opt.JournalBytes = drawOptions(r).JournalBytes
		}
	}
	if r.IntN(3) == 0 {
		lives[n-1].kill = 0
	}
	return lives
}

func TestNoCutLosesWhatWasAcknowledged(t *testing.T) {
	seed := seeded(t)
	scratch := ram(t)
	total, began, replaying := 0, time.Now(), time.Duration(0)
	var from string // the disk that a session begins with
	var prior []mark
	seen := tally{}
	for round := uint64(0); total < *cutsFlag; round++ {
		r := rand.New(rand.NewPCG(seed, round))
		if round%3 == 0 {
			from, prior = base(t, storePath), nil
		}
		s := recorded(t, recorderConfig{Base: from, Prior: prior, Seed: r.Uint64()}, drawLives(r, 1+r.IntN(3)))
		at := time.Now()
		looked, failures, err := s.replay(s.drawCuts(r, roundCuts), scratch, nil)
		replaying += time.Since(at)
		total += looked
		if err != nil || len(failures) > 0 {
			t.Logf("round %d of seed %d", round, seed)
			report(t, s, failures, err)
		}
		if err := seen.add(s); err != nil {
			t.Fatal(err)
		}
		from, prior = s.leave(t, r)
	}
	t.Log(seen)
	if none := seen.missing(total); len(none) > 0 {
		t.Errorf("no session went through %q", none)
	}
	t.Logf("%d power cuts in %v, %.0f a second", total, time.Since(began).Round(time.Second), float64(total)/replaying.Seconds())
}

// leave cuts the power once and returns what the next session begins with.
func (s *session) leave(t *testing.T, r *rand.Rand) (base string, prior []mark) {
	t.Helper()
	c := s.drawCuts(r, 1)[0]
	w := newWalker(s)
	if err := w.to(c.at); err != nil {
		t.Fatal(err)
	}
	base = filepath.Join(ram(t), "base")
	img := w.disk.cut(c.variant)
	if err := errors.Join(os.Mkdir(base, 0o700), img.write(base)); err != nil {
		t.Fatal(err)
	}
	return base, w.prior
}

func TestEveryPrefixOfAShortLife(t *testing.T) {
	r := rand.New(rand.NewPCG(seeded(t), 1<<32))
	everyPrefix(t, r, storePath, 120+r.IntN(100), 60+r.IntN(100))
}

func TestDirectoryThatTheStoreMakesIsDurableBeforeAnythingIsAcknowledged(t *testing.T) {
	r := rand.New(rand.NewPCG(seeded(t), 5<<32))
	everyPrefix(t, r, homePath, 60+r.IntN(60))
}

// everyPrefix records short lives, on a disk that has one directory, and cuts the power at all places.
func everyPrefix(t *testing.T, r *rand.Rand, path string, kills ...int) {
	t.Helper()
	lives := drawLives(r, len(kills))
	for i, n := range kills {
		lives[i].kill = n
	}
	s := recorded(t, recorderConfig{Base: base(t, path), Seed: r.Uint64()}, lives)
	looked, failures, err := s.replay(s.everyCut(r, 1), ram(t), nil)
	report(t, s, failures, err)
	t.Logf("%d power cuts at %d places", looked, len(s.events)-s.first+1)
}

// TestRecordedSession looks again at a session that was kept: -session, and -at and -variant for one cut of it.
func TestRecordedSession(t *testing.T) {
	if *sessionFlag == "" {
		t.Skip("needs -session")
	}
	s, err := readSession(*sessionFlag)
	if err != nil {
		t.Fatal(err)
	}
	s.path = *sessionFlag
	r := rand.New(rand.NewPCG(seeded(t), 2<<32))
	cuts := s.everyCut(r, 2)
	if *atFlag >= 0 {
		v, err := parseVariant(*variantFlag)
		if err != nil {
			t.Fatal(err)
		}
		cuts = []cutAt{{*atFlag, v}}
	}
	looked, failures, err := s.replay(cuts, ram(t), nil)
	report(t, s, failures, err)
	t.Log(fmt.Sprint(looked, " power cuts"))
}
