package replica

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/culvert-mq/culvert/sync/meta"
)

const rigSegment = 1 << 20 // bytes of a segment in the rig

// device returns the limits of a device of so many bytes that holds nothing but the rig's log.
func (r *rig) device(total, minFree int64) Limits {
	return Limits{MinFree: minFree, SegmentBytes: rigSegment, Free: func() (int64, error) { return total - r.used(), nil }}
}

// used returns the bytes of all files in the rig's directory.
func (r *rig) used() (n int64) {
	r.t.Helper()
	files, err := os.ReadDir(r.dir)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range files {
		if info, err := f.Info(); err == nil { // else it has gone meanwhile
			n += info.Size()
		}
	}
	return n
}

// topic creates a topic of one partition.
func (r *rig) topic(n byte, name string, configs ...string) *Partition {
	r.t.Helper()
	m := make(map[string]string)
	for i := 0; i < len(configs); i += 2 {
		m[configs[i]] = configs[i+1]
	}
	r.apply(&meta.CreateTopic{Name: name, ID: topicID(n), Partitions: 1, ReplicationFactor: 1, Configs: m})
	return r.partition(name, 0)
}

func (r *rig) keepRoom(l Limits) {
	r.t.Helper()
	if err := r.m.KeepRoom(r.t.Context(), l); err != nil {
		r.t.Fatal(err)
	}
}

// whole checks that every record from the start to the end of a partition can be read.
func (r *rig) whole(p *Partition) {
	r.t.Helper()
	for at := p.StartOffset(); at < p.HighWatermark(); {
		s, err := p.Read(at, 1<<20)
		if err != nil || len(s.Batches) == 0 || s.Batches[0].BaseOffset() > at {
			r.t.Fatalf("%s at %d of %d to %d: %v", p.Topic(), at, p.StartOffset(), p.HighWatermark(), err)
		}
		at = s.Batches[len(s.Batches)-1].NextOffset()
		s.Release()
	}
}

func TestLogStaysWithinItsLimitsWhateverComes(t *testing.T) {
	const total, minFree = 24 << 20, 4 << 20
	for _, c := range []struct {
		name   string
		limits func(r *rig) Limits
	}{
		{"of the device", func(r *rig) Limits { return r.device(total, minFree) }},
		{"of the log", func(*rig) Limits { return Limits{MaxBytes: total - minFree, SegmentBytes: rigSegment} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t)
			low, mid := r.topic(1, "low", "culvert.priority", "0"), r.topic(2, "mid")
			alarms, compacted := r.topic(3, "alarms", "culvert.priority", "9"), r.topic(4, "compacted", "cleanup.policy", "compact", "culvert.priority", "0")
			l := c.limits(r)
			passes, round := 0, 0
			fill := func(p *Partition, size int) {
				r.fill(p, 1, size)
				if used := r.used(); used > total-minFree {
					t.Fatalf("round %d: %d bytes used of %d", round, used, total-minFree)
				}
				before := low.StartOffset() + mid.StartOffset()
				r.keepRoom(l)
				if low.StartOffset()+mid.StartOffset() != before {
					passes++
				}
			}
			for ; round < 150; round++ {
				for _, p := range []*Partition{low, mid, low, mid} {
					fill(p, 60<<10)
				}
				if round%10 == 0 {
					fill(alarms, 60<<10)
				}
				if round < 10 {
					fill(compacted, 1000)
				}
			}
			if alarms.StartOffset() != 0 || compacted.StartOffset() != 0 {
				t.Fatalf("alarms begin at %d, the compacted topic at %d", alarms.StartOffset(), compacted.StartOffset())
			}
			// Of the lowest priority nothing is left but what lies in the newest segments.
			if kept, most := low.HighWatermark()-low.StartOffset(), int64(3*rigSegment/(60<<10)); kept > most {
				t.Fatalf("%d records of the lowest priority are left, want at most %d", kept, most)
			}
			if kept := mid.HighWatermark() - mid.StartOffset(); kept < 100 || mid.StartOffset() == 0 {
				t.Fatalf("%d records are left of the next priority, from %d", kept, mid.StartOffset())
			}
			if passes > 40 {
				t.Fatalf("records had to go %d times in 150 rounds", passes)
			}
			for _, p := range []*Partition{low, mid, alarms, compacted} {
				r.whole(p)
			}
		})
	}
}

func TestTelemetryGivesWayAlsoWhereAlarmsAreInEverySegment(t *testing.T) {
	for _, share := range []int{1, 5, 9} { // of ten records, alarms
		t.Run(fmt.Sprintf("%d0 %% alarms", share), func(t *testing.T) {
			r := newRig(t)
			telemetry, alarms := r.topic(1, "telemetry"), r.topic(2, "alarms", "culvert.priority", "8")
			for range 30 {
				r.fill(telemetry, 10-share, 30<<10)
				r.fill(alarms, share, 30<<10)
			}
			used := r.used()
			r.keepRoom(Limits{MaxBytes: used - rigSegment/2})
			if telemetry.StartOffset() == 0 || alarms.StartOffset() != 0 {
				t.Fatalf("telemetry begins at %d, alarms at %d", telemetry.StartOffset(), alarms.StartOffset())
			}
			if now := r.used(); now > used-rigSegment/2 {
				t.Fatalf("%d bytes of %d", now, used-rigSegment/2)
			}
			// What went is about what was needed.
			if gone := telemetry.StartOffset() * (30 << 10); gone > 5*rigSegment {
				t.Fatalf("%d bytes of telemetry went for %d", gone, rigSegment/2)
			}
			r.whole(telemetry)
			r.whole(alarms)
		})
	}
}

func TestAlarmsGiveWayOldestFirstWhenNothingElseIsLeft(t *testing.T) {
	r := newRig(t)
	telemetry := r.topic(1, "telemetry")
	major, minor := r.topic(2, "major", "culvert.priority", "9"), r.topic(3, "minor", "culvert.priority", "8")
	r.fill(telemetry, 40, 30<<10)
	for range 60 {
		r.fill(major, 1, 60<<10)
		r.fill(minor, 1, 60<<10)
	}
	used := r.used()
	// Neither room to spare nor what is to be left free is worth an alarm.
	free := Limits{MinFree: 16 << 20, SegmentBytes: rigSegment, Free: func() (int64, error) { return 2 << 20, nil }}
	r.keepRoom(free)
	if telemetry.StartOffset() == 0 || major.StartOffset() != 0 || minor.StartOffset() != 0 {
		t.Fatalf("starts %d, %d, %d", telemetry.StartOffset(), major.StartOffset(), minor.StartOffset())
	}
	if !r.m.cramped {
		t.Fatal("room to spare is missing, and that is not known")
	}
	// Without any space left it is either the old ones or the new ones.
	full := free
	total := r.used()
	full.Free = func() (int64, error) { return total + 7*rigSegment/4 - r.used(), nil }
	r.keepRoom(full)
	if major.StartOffset() != 0 || minor.StartOffset() == 0 || minor.StartOffset() > 45 {
		t.Fatalf("starts %d, %d", major.StartOffset(), minor.StartOffset())
	}
	r.keepRoom(Limits{MaxBytes: used - 5*rigSegment})
	if major.StartOffset() == 0 || r.used() > used-5*rigSegment {
		t.Fatalf("starts %d, %d; %d bytes", major.StartOffset(), minor.StartOffset(), r.used())
	}
	if n := testutil.ToFloat64(r.m.metrics.Expired.WithLabelValues("minor", reasonDisk)); int64(n) != minor.StartOffset() {
		t.Fatalf("%v records of %d counted", n, minor.StartOffset())
	}
	r.whole(major)
	r.whole(minor)
}

func TestLogThatNothingMayLeaveIsLeftAlone(t *testing.T) {
	r := newRig(t)
	kept := r.topic(1, "kept", "cleanup.policy", "compact")
	r.fill(kept, 60, 60<<10)
	before := r.used()
	r.keepRoom(Limits{MaxBytes: 1, SegmentBytes: rigSegment})
	if kept.StartOffset() != 0 || r.used() != before || !r.m.cramped || !r.m.crampedHard {
		t.Fatalf("start %d, %d bytes of %d, cramped %v", kept.StartOffset(), r.used(), before, r.m.cramped)
	}
	if err := r.m.lookForRoom(r.t.Context(), Limits{MaxBytes: 1 << 40}); err != nil || r.m.cramped {
		t.Fatalf("there is room again: cramped %v, %v", r.m.cramped, err)
	}
}

func TestStoppingDoesNotWaitForRoom(t *testing.T) {
	r := newRig(t)
	p := r.topic(1, "telemetry")
	r.fill(p, 60, 60<<10)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := r.m.KeepRoom(ctx, Limits{MaxBytes: 1 << 20}); !errors.Is(err, context.Canceled) || p.StartOffset() != 0 {
		t.Fatalf("start %d, %v", p.StartOffset(), err)
	}
}

func TestRoomIsMadeForTheReserveOfAlarms(t *testing.T) {
	r := newRig(t)
	p := r.topic(1, "telemetry")
	r.fill(p, 60, 60<<10)
	l := r.device(r.used()+4<<20, 1<<20)
	r.keepRoom(l)
	if p.StartOffset() != 0 {
		t.Fatalf("records went though there is room: start %d", p.StartOffset())
	}
	l.Reserve = 2 << 20 // not held
	r.keepRoom(l)
	if free, err := l.Free(); err != nil || p.StartOffset() == 0 || free < l.MinFree+2*l.Reserve {
		t.Fatalf("start %d, %d bytes free, %v", p.StartOffset(), free, err)
	}
}
