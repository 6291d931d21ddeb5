package upstream

import (
	"context"
	"slices"
	"time"
)

// keepPartitions keeps the flows in step with the partitions of the source and the choice of topics.
func (w *Forwarder) keepPartitions(ctx context.Context) {
	defer w.source.Watch(w.list)()
	failures := 0
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-w.list:
		case <-timer.C:
		}
		again, err := w.refresh(ctx)
		switch {
		case err != nil && ctx.Err() == nil:
			failures++
			if failures == 1 {
				w.log.Error("cannot load how far the log is forwarded; new partitions wait", "err", err)
			}
			w.metrics.stores.WithLabelValues("load_error").Inc()
			timer.Reset(backoff(failures, loadBackoff, w.cfg.MaxBackoff))
		case again:
			failures = 0
			timer.Reset(loadBackoff)
		default:
			failures = 0
			timer.Reset(time.Hour)
		}
	}
}

// refresh adds and removes flows. again tells that a partition must wait for what is left of an earlier flow of its.
func (w *Forwarder) refresh(ctx context.Context) (again bool, err error) {
	sel := w.selector.Load()
	have := map[PartitionID]*flow{}
	for _, f := range w.flows.Load().list {
		have[f.id] = f
	}
	exists := map[PartitionID]bool{}
	wanted := map[PartitionID]Partition{}
	var ids []PartitionID
	w.sweep()
	for _, p := range w.source.Partitions() {
		id := idOf(p)
		exists[id] = true
		if !sel.match(id.Topic) {
			continue
		}
		wanted[id] = p
		if have[id] != nil {
			continue
		}
		if w.isRetired(id) {
			again = true
			continue
		}
		ids = append(ids, id)
	}
	for id, f := range have {
		if wanted[id] == nil {
			w.remove(f, exists[id])
		}
	}
	if len(ids) == 0 {
		return again, nil
	}
	stored, err := w.positions.Load(ctx, ids)
	if err != nil {
		return again, err
	}
	from := map[PartitionID]int64{}
	for _, p := range stored {
		from[p.PartitionID] = p.Offset
	}
	for _, id := range ids {
		offset, ok := from[id]
		w.addFlow(wanted[id], offset, ok)
	}
	w.poke()
	return again, nil
}

// addFlow begins to forward a partition, from its stored position or its start.
func (w *Forwarder) addFlow(p Partition, offset int64, ok bool) {
	id := idOf(p)
	start, hwm := p.StartOffset(), p.HighWatermark()
	position, stored := offset, offset
	switch {
	case !ok:
		position, stored = start, -1
	case offset > hwm:
		// The log has lost its end; new records will have offsets that were forwarded once, as others.
		w.log.Warn("the log ends before what was forwarded of it; forwarding continues at its end", "topic", id.Topic, "partition", id.Index,
			"position", offset, "high_watermark", hwm)
		position = hwm
	}
	f := newFlow(p, w.centralTopic(id.Topic), position, stored)
	f.stop = p.Watch(w.data)
	w.flowsMu.Lock()
	w.flows.Store(w.flows.Load().with(f))
	w.flowsMu.Unlock()
	w.log.Debug("forwarding a partition", "topic", id.Topic, "partition", id.Index, "central_topic", f.central.name, "position", position,
		"high_watermark", hwm)
}

// remove stops forwarding a partition. What is on its way is sent; if the partition still exists, its position is
// stored until then.
func (w *Forwarder) remove(f *flow, exists bool) {
	f.stop()
	f.mu.Lock()
	f.removed = true
	lag := f.src.HighWatermark() - f.position
	f.mu.Unlock()
	w.flowsMu.Lock()
	defer w.flowsMu.Unlock()
	w.flows.Store(w.flows.Load().without(f))
	if exists {
		w.retired = append(w.retired, f)
	}
	if !slices.ContainsFunc(w.flows.Load().list, func(o *flow) bool { return o.id.Topic == f.id.Topic }) {
		w.metrics.forget(f.id.Topic)
	}
	w.log.Info("no longer forwarding a partition", "topic", f.id.Topic, "partition", f.id.Index, "deleted", !exists, "lag_records", max(lag, 0))
}

// sweep forgets retired flows that are done with.
func (w *Forwarder) sweep() {
	w.flowsMu.Lock()
	defer w.flowsMu.Unlock()
	w.retired = slices.DeleteFunc(w.retired, func(f *flow) bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.pending == 0 && f.stored == f.position
	})
}

func (w *Forwarder) isRetired(id PartitionID) bool {
	w.flowsMu.Lock()
	defer w.flowsMu.Unlock()
	return slices.ContainsFunc(w.retired, func(f *flow) bool { return f.id == id })
}

// everyFlow lists the flows, and those whose positions are still to be stored.
func (w *Forwarder) everyFlow() []*flow {
	w.flowsMu.Lock()
	defer w.flowsMu.Unlock()
	return append(slices.Clone(w.flows.Load().list), w.retired...)
}

// centralTopic returns the topic at the centre for a topic here. Called by keepPartitions alone.
func (w *Forwarder) centralTopic(topic string) *centralTopic {
	name, err := w.template.name(topic)
	t := w.centrals[name]
	if t == nil {
		t = &centralTopic{name: name, illegal: err}
		w.centrals[name] = t
		if err != nil {
			w.log.Error("a topic cannot be forwarded: its name at the centre would not be legal", "topic", topic, "err", err)
		}
	}
	return t
}
