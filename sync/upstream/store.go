package upstream

import (
	"context"
	"time"
)

// keepStoring stores positions, counts and reports at intervals.
func (w *Forwarder) keepStoring(ctx context.Context) {
	t := time.NewTicker(w.cfg.StoreInterval)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		w.commit()
		w.report(time.Now())
	}
}

// storeTimeout bounds storing positions once.
const storeTimeout = 5 * time.Second

// commit stores the positions that have moved since they were stored.
func (w *Forwarder) commit() {
	// Not cut short when the forwarder stops: a store that is under way then is as good as the last one.
	ctx, cancel := context.WithTimeout(context.Background(), storeTimeout)
	defer cancel()
	var moved []Position
	var flows []*flow
	for _, f := range w.everyFlow() {
		f.mu.Lock()
		if f.position != f.stored {
			moved = append(moved, Position{f.id, f.position})
			flows = append(flows, f)
		}
		f.mu.Unlock()
	}
	if len(moved) == 0 {
		return
	}
	if err := w.positions.Store(ctx, moved); err != nil {
		w.metrics.stores.WithLabelValues("error").Inc()
		if !w.storeFailed.Swap(true) {
			w.log.Error("cannot store how far the log is forwarded; after a restart more will be sent again", "err", err)
		}
		return
	}
	w.metrics.stores.WithLabelValues("ok").Inc()
	w.storeFailed.Store(false)
	for i, f := range flows {
		f.mu.Lock()
		f.stored = moved[i].Offset
		f.mu.Unlock()
	}
}

// report updates the metrics and logs what changed.
func (w *Forwarder) report(now time.Time) {
	if w.confirmed.Swap(false) {
		w.confirmedAt.Store(now.UnixNano())
	}
	for _, f := range w.everyFlow() {
		f.mu.Lock()
		delta := f.total.minus(f.counted)
		f.counted = f.total
		lost := f.total.minus(f.told)
		tell := lost.lost+lost.damaged > 0 && now.Sub(f.toldAt) >= time.Minute
		if tell {
			f.told, f.toldAt = f.total, now
		}
		position, damage := f.position, f.damage
		f.mu.Unlock()
		w.metrics.add(f.id.Topic, delta)
		if tell {
			w.log.Error("records are lost: retention took them before they were forwarded, or they cannot be read", "topic", f.id.Topic,
				"partition", f.id.Index, "gone", lost.lost, "damaged", lost.damaged, "before_offset", position, "err", damage)
		}
	}
	s := w.Status()
	w.metrics.observe(s)
	w.logState(s, now)
}

// logState tells of the centre going away and coming back, once each.
func (w *Forwarder) logState(s Status, now time.Time) {
	was := w.lastState
	if s.State == StateConnecting && s.LastError != "" && !w.toldLost {
		w.toldLost = true
		w.log.Warn("the centre cannot be reached; it is tried again", "brokers", w.cfg.Brokers, "lag_records", s.Lag, "err", s.LastError)
	}
	if s.State == was {
		return
	}
	w.lastState = s.State
	switch {
	case s.State == StateDown:
		w.downAt = *s.DownSince
		w.log.Warn("the centre is away", "since", w.downAt, "lag_records", s.Lag, "err", s.LastError)
	case was == StateDown:
		w.log.Info("the centre is back", "after", now.Sub(w.downAt).Round(time.Second), "lag_records", s.Lag)
	case was == StateConnecting:
		w.log.Info("connected to the centre", "lag_records", s.Lag)
	default:
		w.log.Debug("forwarding", "state", s.State, "lag_records", s.Lag)
	}
}
