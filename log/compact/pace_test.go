package compact

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func never() bool { return false }

func TestPacerKeepsToItsRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Pacer{Rate: 1 << 20, Share: 0.1, Busy: never, Hurry: never}
		p.Begin()
		start := time.Now()
		for range 10 << 20 / 1000 {
			if err := p.Spend(t.Context(), 1000); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(start); took < 9900*time.Millisecond || took > 10100*time.Millisecond {
			t.Errorf("10 MiB at 1 MiB/s took %v", took)
		}
		start = time.Now()
		for range 3 { // work that is slower than the rate does not wait
			time.Sleep(2 * time.Second)
			_ = p.Spend(t.Context(), 1<<20)
		}
		if took := time.Since(start); took != 6*time.Second {
			t.Errorf("work of 6 s took %v", took)
		}
	})
}

func TestPacerGivesWayWhileOthersNeedTheMachine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var busy atomic.Bool
		busy.Store(true)
		p := Pacer{Share: 0.1, Busy: busy.Load, Hurry: never}
		p.Begin()
		work := func() time.Duration {
			start := time.Now()
			for range 100 {
				time.Sleep(time.Millisecond)
				if err := p.Spend(t.Context(), step); err != nil {
					t.Fatal(err)
				}
			}
			return time.Since(start)
		}
		if took := work(); took < 990*time.Millisecond || took > 1010*time.Millisecond {
			t.Errorf("100 ms of work took %v", took)
		}
		busy.Store(false)
		if took := work(); took > 105*time.Millisecond {
			t.Errorf("100 ms of work took %v with nobody else there", took)
		}
		busy.Store(true)
		go func() {
			time.Sleep(1500 * time.Millisecond)
			busy.Store(false)
		}()
		start := time.Now()
		time.Sleep(time.Second) // of work at once
		_ = p.Spend(t.Context(), step)
		if took := time.Since(start); took < 1500*time.Millisecond || took > 1500*time.Millisecond+napMost {
			t.Errorf("waited for %v", took)
		}
	})
}

func TestPacerWaitsForNothingWhileSomebodyWaitsForIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hurry atomic.Bool
		p := Pacer{Rate: step, Share: 0.1, Busy: func() bool { return true }, Hurry: hurry.Load}
		p.Begin()
		go func() {
			time.Sleep(time.Second)
			hurry.Store(true)
		}()
		start := time.Now()
		for range 100 {
			_ = p.Spend(t.Context(), 100*step)
		}
		if took := time.Since(start); took < time.Second || took > time.Second+napMost {
			t.Errorf("waited for %v", took)
		}
	})
}

func TestPacerEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := Pacer{Rate: 1, Share: 1, Busy: never, Hurry: never}
		p.Begin()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		if err := p.Spend(ctx, 1<<20); !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Second {
			t.Errorf("%v after %v", err, time.Since(start))
		}
		if err := p.Spend(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
	})
}
