package upstream

import (
	"errors"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

func TestPositionTellsWhatTheCentreHasConfirmed(t *testing.T) {
	r := newRig(t, newCentre(t))
	parts := r.source.topic("air", 2)
	other := r.source.topic("debug", 1)
	r.cfg.Exclude = []string{"debug"}
	newFiller(parts, 8, 0).add(800)
	r.start()
	r.caughtUp()
	for _, p := range parts {
		if at, ok := r.w.Position(t.Context(), idOf(p)); !ok || at != p.HighWatermark() || at == 0 {
			t.Errorf("partition %d: %d, %v, want %d", p.Index(), at, ok, p.HighWatermark())
		}
	}
	if at, ok := r.w.Position(t.Context(), idOf(other[0])); ok || at != 0 {
		t.Errorf("a topic that is not forwarded: %d, %v", at, ok)
	}
	gone := idOf(parts[1])
	gone.TopicID = [16]byte{99}
	if at, ok := r.w.Position(t.Context(), gone); !ok || at != 0 {
		t.Errorf("another topic of the same name: %d, %v", at, ok)
	}
}

func TestPositionOfAPartitionThatHasNotBegunIsTheStoredOne(t *testing.T) {
	r := newRig(t, newCentre(t))
	parts := r.source.topic("air", 2)
	r.pos.at[idOf(parts[0])] = 17
	w, err := New(r.cfg, r.source, r.pos, testLog(t), NewMetrics(prometheus.NewRegistry()))
	if err != nil {
		t.Fatal(err)
	}
	if at, ok := w.Position(t.Context(), idOf(parts[0])); !ok || at != 17 {
		t.Errorf("stored: %d, %v", at, ok)
	}
	if at, ok := w.Position(t.Context(), idOf(parts[1])); !ok || at != 0 {
		t.Errorf("none stored: %d, %v", at, ok)
	}
	r.pos.fail(errors.New("not now"), nil)
	if at, ok := w.Position(t.Context(), idOf(parts[0])); !ok || at != 0 {
		t.Errorf("unknown: %d, %v", at, ok)
	}
}
