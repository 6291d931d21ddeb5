//go:build powercut

package powercut

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/culvert-mq/culvert/log/partition"
	"github.com/culvert-mq/culvert/log/store"
)

// driverConfig is what a driver is started with.
type driverConfig struct {
	Mount   string
	Seed    uint64
	Steps   int // of each worker, after which the store is closed
	Workers int
	Options storeOptions
	Hasty   bool // notes records as acknowledged when they are appended, which a laboratory must find out
}

// driver runs the store on the mount.
type driver struct {
	cfg   driverConfig
	st    *store.Store
	set   partition.Settings
	marks marks
	fatal chan error

	mu    sync.Mutex
	parts map[uint32]*partition.Partition // guarded by mu: for the reader

	keeping sync.Mutex // held by whoever counts what goes, as one goroutine of a node does it all
}

// drive runs a whole life of a driver.
func drive(cfg driverConfig) error {
	f, err := os.OpenFile(filepath.Join(cfg.Mount, marksName), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	d := &driver{cfg: cfg, set: partition.Settings{Codec: cfg.Options.Codec}, marks: marks{f}, fatal: make(chan error, 1), parts: map[uint32]*partition.Partition{}}
	if err := d.marks.write(mark{Kind: markLife, Options: &cfg.Options}); err != nil {
		return err
	}
	said := &alarms{}
	if d.st, err = cfg.Options.open(filepath.Join(cfg.Mount, storePath), slog.New(said)); err != nil {
		return err
	}
	states := d.st.States()
	if err := d.marks.write(mark{Kind: markOpened, States: states}); err != nil {
		return err
	}
	done := make(chan struct{})
	go func() {
		d.work(states)
		close(done)
	}()
	select {
	case err = <-d.fatal:
	case <-done:
	}
	if err == nil {
		err = d.st.Close()
	}
	if damage := d.st.Damage(); len(damage) > 0 {
		err = errors.Join(err, fmt.Errorf("damage: %+v", damage))
	}
	return errors.Join(err, said.err())
}

// work deals the partitions out to workers and runs them, with a reader and somebody who reclaims beside them.
func (d *driver) work(states []*store.PartitionState) {
	stop := make(chan struct{})
	var beside, workers sync.WaitGroup
	beside.Go(func() { d.reclaim(stop) })
	beside.Go(func() { d.read(stop) })
	beside.Go(func() { d.compact(stop) })
	for i := range d.cfg.Workers {
		w := &worker{driver: d, rng: rand.New(rand.NewPCG(d.cfg.Seed, uint64(i)))}
		for j, st := range states {
			if j%d.cfg.Workers == i {
				w.add(st)
			}
		}
		workers.Go(func() {
			for range d.cfg.Steps {
				if err := w.step(); err != nil {
					d.fail(err)
					return
				}
			}
			w.waitAll()
		})
	}
	workers.Wait()
	close(stop)
	beside.Wait()
}

// fail ends the driver.
func (d *driver) fail(err error) {
	select {
	case d.fatal <- err:
	default:
	}
}

// reclaim runs retention's second half all the time.
func (d *driver) reclaim(stop chan struct{}) {
	rng := rand.New(rand.NewPCG(d.cfg.Seed, 1000))
	for pause(stop, time.Duration(rng.IntN(20))*time.Millisecond) {
		if _, err := d.st.Reclaim(); err != nil {
			d.fail(fmt.Errorf("reclaim: %w", err))
			return
		}
	}
}

// some returns one of the partitions, nil if there is none.
func (d *driver) some() *partition.Partition {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, p := range d.parts {
		return p
	}
	return nil
}

// read looks whether the mapped files show what was written.
func (d *driver) read(stop chan struct{}) {
	for pause(stop, 5*time.Millisecond) {
		p := d.some()
		if p == nil {
			continue
		}
		err := readAll(p)
		if err != nil && !errors.Is(err, partition.ErrGone) && !errors.Is(err, partition.ErrOffsetOutOfRange) {
			d.fail(fmt.Errorf("reading partition %d of the running store: %w", p.ID(), err))
			return
		}
	}
}

func readAll(p *partition.Partition) error {
	r := reading{info: p.Info(), next: p.Start()}
	for end := p.End(); r.next < end; {
		if compacted(r.info.TopicID) {
			r.cleaned = math.MaxInt64 // and what was truncated meanwhile
		}
		sp, err := p.Read(r.next, end, 16<<10)
		if err != nil {
			return err
		}
		for _, b := range sp.Batches {
			if err = r.batch(b); err != nil {
				break
			}
		}
		n := len(sp.Batches)
		sp.Release()
		if err != nil || n == 0 {
			return err
		}
	}
	return nil
}

// pause waits and reports whether to go on.
func pause(stop <-chan struct{}, d time.Duration) bool {
	select {
	case <-stop:
		return false
	case <-time.After(d):
		return true
	}
}
