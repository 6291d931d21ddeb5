package store

import (
	"testing"
	"testing/synctest"
	"time"
)

func TestBatchIsTakenToBeWholeForAWhileAfterItWasVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &verified{start: time.Now()}
		seg, rewritten := &segment{serial: 1}, &segment{serial: 2}
		b := makeBatch(7, 1, make([]byte, verifiedLeast))
		small := makeBatch(8, 1, make([]byte, 100))
		time.Sleep(time.Minute)
		v.note(seg, 3, b, v.clock())
		v.note(seg, 3, small, v.clock())
		for _, c := range []struct {
			what string
			got  bool
			want bool
		}{
			{"the batch", v.recently(seg, 3, b, v.clock()), true},
			{"of another partition", v.recently(seg, 4, b, v.clock()), false},
			{"of the file that took its place", v.recently(rewritten, 3, b, v.clock()), false},
			{"a small one", v.recently(seg, 3, small, v.clock()), false},
		} {
			if c.got != c.want {
				t.Errorf("%s: %v, want %v", c.what, c.got, c.want)
			}
		}
		time.Sleep(verifiedFor)
		if v.recently(seg, 3, b, v.clock()) {
			t.Error("it is believed for too long")
		}
	})
}
