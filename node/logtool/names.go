package logtool

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/culvert-mq/culvert/log/store"
)

// names are those of the partitions, by id, also of the ones that were dropped.
type names map[uint32]store.PartitionInfo

func (n names) learn(s *store.State) {
	if s == nil {
		return
	}
	for id, p := range s.Partitions {
		n[id] = p.PartitionInfo
	}
}

// Place is a partition. Where its name is not known Topic is empty, and Partition -1.
type Place struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	ID        uint32 `json:"partition_id"` // the store's own
}

func (n names) place(id uint32) Place {
	info, ok := n[id]
	if !ok {
		return Place{Partition: -1, ID: id}
	}
	return Place{Topic: info.Topic, Partition: info.Index, ID: id}
}

func (p Place) String() string {
	if p.Topic == "" {
		return fmt.Sprintf("partition #%d", p.ID)
	}
	return fmt.Sprintf("%s/%d", p.Topic, p.Partition)
}

// Range is a piece of a partition, From inclusive, To exclusive.
type Range struct {
	Place
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

func (r Range) String() string {
	if r.To-r.From == 1 {
		return fmt.Sprintf("%s offset %d", r.Place, r.From)
	}
	return fmt.Sprintf("%s offsets %d to %d", r.Place, r.From, r.To-1)
}

// Problem is one thing that is not what was written.
type Problem struct {
	File     string `json:"file"`             // its name in the log's directory
	Commit   uint64 `json:"commit,omitempty"` // or the journal's group
	Of       *Range `json:"of,omitempty"`     // what it concerns; From and To are equal where no offsets are known
	Harmless bool   `json:"harmless"`         // nothing that was acknowledged is concerned
	Text     string `json:"problem"`

	meta bool // store.ErrMeta
}

// String tells it in a line.
func (p Problem) String() string { return p.File + ": " + p.within() }

// within tells it to who knows the file.
func (p Problem) within() string {
	var parts []string
	if p.Commit != 0 {
		unit := "commit"
		if strings.HasPrefix(p.File, store.JournalFile) {
			unit = "group"
		}
		parts = append(parts, fmt.Sprintf("%s %d", unit, p.Commit))
	}
	switch {
	case p.Of == nil:
	case p.Of.From < p.Of.To:
		parts = append(parts, p.Of.String())
	default:
		parts = append(parts, p.Of.Place.String())
	}
	return strings.Join(append(parts, p.Text), ": ")
}

func (n names) problem(p store.Problem) Problem {
	out := Problem{File: filepath.Base(p.Path), Commit: p.Commit, Harmless: p.Harmless, Text: oneLine(p.Err), meta: errors.Is(p.Err, store.ErrMeta)}
	if p.Partition != 0 {
		out.Of = &Range{n.place(p.Partition), p.From, p.To}
	}
	return out
}

// oneLine is the text of an error, which may be several that were joined.
func oneLine(err error) string {
	if err == nil {
		err = errors.New("unknown")
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}
