package machine

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
)

// Errors of a Disk.
var (
	ErrOff   = errors.New("the disk has no power")
	ErrRange = errors.New("not whole sectors of the disk")
)

const (
	// Sector is the unit that a disk writes whole or not at all, in bytes.
	Sector = 512
	// cacheBytes bounds the volatile cache; what is older goes to the image, as in any disk.
	cacheBytes = 64 << 20
)

// A Disk is an image file behind a volatile write cache. Reads see every write at once; the image has a write for
// certain only when Flush, called after the write returned, has returned. Cut takes the power away: of the writes
// since the last flush some reach the image, some do not, some do in part. It is safe for concurrent use.
type Disk struct {
	mu      sync.Mutex
	image   *os.File
	size    int64
	cache   []write          // in the order of arrival; guarded by mu, as all below
	cached  int64            // bytes of cache
	newest  map[int64][]byte // sector -> its content, for the sectors that cache has
	undo    []write          // what the image had before it was written since the last cut, oldest first
	off     bool
	lies    bool
	trap    Trap
	sprung  chan struct{}
	flushes int64
}

type write struct {
	at   int64
	data []byte
	safe bool // written through: a cut cannot drop it
}

// An Op is what a machine asks of its disk.
type Op int

// The operations at which a trap may spring.
const (
	OpWrite Op = iota + 1
	OpFlush
)

// A Trap says when the power goes: when the Nth operation of the kind Op arrives that finds Writes or more in the
// cache. A flush then has no effect, a write that of any other which is not flushed.
type Trap struct {
	Op     Op
	Nth    int // from 1; 0 is no trap
	Writes int
}

// OpenDisk opens the image at path, which must be a whole number of sectors long.
func OpenDisk(path string) (*Disk, error) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && (info.Size() == 0 || info.Size()%Sector != 0) {
		err = fmt.Errorf("%s has %d bytes: %w", path, info.Size(), ErrRange)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &Disk{image: f, size: info.Size(), newest: map[int64][]byte{}}, nil
}

// Size is the disk's size in bytes.
func (d *Disk) Size() int64 { return d.size }

// Close closes the image. What was not flushed is not in it.
func (d *Disk) Close() error { return d.image.Close() }

func (d *Disk) check(at, n int64) error {
	if d.off {
		return ErrOff
	}
	if at < 0 || n < 0 || at > d.size-n || at%Sector != 0 || n%Sector != 0 {
		return fmt.Errorf("%d bytes at %d: %w", n, at, ErrRange)
	}
	return nil
}

// Read fills p with what was written last. Errors: ErrOff, ErrRange, those of the image.
func (d *Disk) Read(p []byte, at int64) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(at, int64(len(p))); err != nil {
		return err
	}
	if _, err := d.image.ReadAt(p, at); err != nil {
		return err
	}
	for i := 0; len(d.newest) > 0 && i < len(p); i += Sector {
		if data := d.newest[(at+int64(i))/Sector]; data != nil {
			copy(p[i:], data)
		}
	}
	return nil
}

// Write takes p into the cache and keeps it, so that the caller may not change it; with through it survives a cut
// once Write has returned. Errors: ErrOff, ErrRange, those of the image.
func (d *Disk) Write(p []byte, at int64, through bool) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(at, int64(len(p))); err != nil {
		return err
	}
	springs := d.springs(OpWrite)
	d.cache = append(d.cache, write{at, p, through && !springs})
	d.cached += int64(len(p))
	for i := 0; i < len(p); i += Sector {
		d.newest[(at+int64(i))/Sector] = p[i : i+Sector]
	}
	if springs {
		return ErrOff
	}
	if d.cached > cacheBytes {
		return d.settle()
	}
	return nil
}

// Flush makes every write that has returned survive a cut. Errors: ErrOff, those of the image.
func (d *Disk) Flush() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.off || d.springs(OpFlush) {
		return ErrOff
	}
	d.flushes++
	if d.lies {
		return nil
	}
	return d.settle()
}

// Lie makes it a disk that reports a flush as done and does nothing, as the worst of cards do.
func (d *Disk) Lie() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lies = true
}

// settle moves the whole cache to the image.
func (d *Disk) settle() error {
	for _, w := range d.cache {
		if err := d.put(w.data, w.at); err != nil {
			return err
		}
	}
	d.forget()
	return nil
}

func (d *Disk) forget() {
	d.cache, d.cached = nil, 0
	clear(d.newest)
}

// put writes to the image and remembers what it had.
func (d *Disk) put(p []byte, at int64) error {
	old := make([]byte, len(p))
	if _, err := d.image.ReadAt(old, at); err != nil {
		return err
	}
	d.undo = append(d.undo, write{at: at, data: old})
	_, err := d.image.WriteAt(p, at)
	return err
}

// Set sets a trap in the place of the one before. When it springs the channel is closed, and everything that is asked
// of the disk fails with ErrOff until Cut.
func (d *Disk) Set(t Trap) <-chan struct{} {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.trap, d.sprung = t, make(chan struct{})
	return d.sprung
}

func (d *Disk) springs(op Op) bool {
	if d.trap.Nth == 0 || op != d.trap.Op || len(d.cache) < d.trap.Writes {
		return false
	}
	if d.trap.Nth--; d.trap.Nth > 0 {
		return false
	}
	d.off = true
	close(d.sprung)
	return true
}

// Cut takes the power away and gives it back: what was in the cache is gone, but for what chance has let the disk
// write of it before; without chance all is gone. The machine must be off.
func (d *Disk) Cut(rnd *rand.Rand) (Loss, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off, d.trap, d.undo = false, Trap{}, nil
	loss := Loss{Flushes: d.flushes, Writes: len(d.cache), Bytes: d.cached}
	for i, keep := range fates(rnd, d.cache, &loss) {
		w := d.cache[i]
		for from := 0; from < len(w.data); from += Sector {
			if !keep[from/Sector] {
				continue
			}
			// Not remembered: to rewind means to come back to what is written here.
			if _, err := d.image.WriteAt(w.data[from:from+Sector], w.at+int64(from)); err != nil {
				return loss, err
			}
		}
	}
	d.forget()
	return loss, nil
}

// Rewind gives the image the content that the last cut left, for whoever wants to see on what the machine booted.
func (d *Disk) Rewind() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forget()
	for _, w := range slices.Backward(d.undo) {
		if _, err := d.image.WriteAt(w.data, w.at); err != nil {
			return err
		}
	}
	d.undo = nil
	return nil
}
