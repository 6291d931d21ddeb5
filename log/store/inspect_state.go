package store

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"

	"github.com/culvert-mq/culvert/log/record"
)

// Difference says in what a partition's state is not what follows from the log.
type Difference struct {
	Partition uint32
	Text      string
}

// CompareStates compares a state that is written with the one that follows from the commits before it.
func CompareStates(written, follows *State) []Difference {
	ids := maps.Clone(written.Partitions)
	maps.Copy(ids, follows.Partitions)
	var all []Difference
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		a, b := written.Partitions[id], follows.Partitions[id]
		switch {
		case a == nil:
			all = append(all, Difference{id, "it is not there, and should be"})
		case b == nil:
			all = append(all, Difference{id, "it is there, and should not be"})
		case !bytes.Equal(a.append(nil), b.append(nil)):
			all = append(all, Difference{id, differ(a, b)})
		}
	}
	if written.NextID != follows.NextID {
		all = append(all, Difference{0, fmt.Sprintf("the next partition id is %d, and should be %d", written.NextID, follows.NextID)})
	}
	return all
}

// differ names the first field in which two states of a partition differ.
func differ(a, b *PartitionState) string {
	x, y := reflect.ValueOf(*a), reflect.ValueOf(*b)
	for i := range x.NumField() {
		f, g := x.Field(i), y.Field(i)
		if f.Kind() == reflect.Slice && f.Len() == 0 && g.Len() == 0 || f.Kind() == reflect.Map && f.Len() == 0 && g.Len() == 0 {
			continue
		}
		if reflect.DeepEqual(f.Interface(), g.Interface()) {
			continue
		}
		if f.Kind() == reflect.Map {
			return fmt.Sprintf("%s: %d of them, %d follow from the log, and not all are the same", x.Type().Field(i).Name, f.Len(), g.Len())
		}
		return fmt.Sprintf("%s is %v, and should be %v", x.Type().Field(i).Name, f.Interface(), g.Interface())
	}
	return "it is not what follows from the log"
}

// runs counts the batches of a file by partition.
type runCount map[uint32]*PartitionRun

// add counts a batch. whole says that no later commit of the file truncated it. It reports whether it is in force.
func (c runCount) add(id uint32, b record.Batch, whole bool, limits func(uint32) (from, to int64)) (live bool) {
	run := c[id]
	if run == nil {
		run = &PartitionRun{Partition: id, Run: Run{Base: b.BaseOffset(), MaxTime: b.MaxTimestamp()}}
		c[id] = run
	}
	n, size := int64(b.Count()), int64(len(b))
	run.Base, run.Next, run.MaxTime = min(run.Base, b.BaseOffset()), max(run.Next, b.NextOffset()), max(run.MaxTime, b.MaxTimestamp())
	run.Batches, run.Records, run.Bytes = run.Batches+1, run.Records+n, run.Bytes+size
	records, live := inForce(b, id, whole, limits)
	run.LiveRecords += records
	if live {
		run.LiveBytes += size
	}
	return live
}

// sum returns all batches, records and bytes.
func (c runCount) sum() (batches, records, size int64) {
	for _, r := range c {
		batches, records, size = batches+r.Batches, records+r.Records, size+r.Bytes
	}
	return batches, records, size
}

func (c runCount) sorted() []PartitionRun {
	all := make([]PartitionRun, 0, len(c))
	for _, r := range c {
		all = append(all, *r)
	}
	slices.SortFunc(all, func(a, b PartitionRun) int { return cmp.Compare(a.Partition, b.Partition) })
	return all
}

// inForce returns how many records of a batch are in force, and whether any of it is.
func inForce(b record.Batch, id uint32, whole bool, limits func(uint32) (from, to int64)) (records int64, live bool) {
	if !whole {
		return 0, false
	}
	if limits == nil {
		return int64(b.Count()), true
	}
	from, to := limits(id)
	if b.NextOffset() <= from || b.NextOffset() > to { // truncated as a whole
		return 0, false
	}
	n, err := countRecords(b, from, to)
	if err != nil { // compressed in a way that cannot be read: what is left of it is a guess
		n = min(int64(b.Count()), b.NextOffset()-from)
	}
	return n, true
}
