package node

import (
	"context"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/culvert-mq/culvert/log/fsx"
	"github.com/culvert-mq/culvert/node/config"
	"github.com/culvert-mq/culvert/sync/replica"
	"github.com/culvert-mq/culvert/sync/upstream"
)

// limits are what the log may take of its device.
func (n *Node) limits(c *config.Config) replica.Limits {
	dir := logDir(c)
	return replica.Limits{
		MaxBytes: int64(c.Log.MaxBytes), MinFree: int64(c.Log.MinFreeBytes), SegmentBytes: n.segment, Reserve: n.reserve,
		Free: func() (int64, error) { return fsx.FreeBytes(dir) },
	}
}

func logDir(c *config.Config) string { return filepath.Join(c.Node.DataDir, "log") }

const (
	// fewestSegments is into how many segments the room of the log is divided at least: space is given back in segments,
	// and as much as one and a half of them is kept free for the active one and for those that are rewritten.
	fewestSegments = 16
	// reserveShare is what share of the room the reserve for alarms takes at the most.
	reserveShare = 16
	// leastSegment is a size below which dividing costs more than it gives.
	leastSegment = 1 << 20
)

// fittingSegment is up to what size a segment grows: what the configuration says, or less where the log has room for a few
// of those only.
func (n *Node) fittingSegment(c *config.Config) int64 {
	want := int64(c.Log.SegmentBytes)
	room, err := logRoom(c)
	if err != nil {
		n.log.Warn("the room for the log is not known", "err", err)
		return want
	}
	least := max(leastSegment, int64(c.Commit.AbsorbBytes), int64(c.Commit.DirectBytes))
	fitting := max(room/fewestSegments, least)
	if fitting >= want {
		return want
	}
	n.log.Info("segments are smaller than log.segment_bytes, because there is room for a few of those only", "segment_bytes", fitting, "room", room)
	return fitting
}

// fittingReserve is how much space is held for alarms: what the configuration says, or less where that is a large part of
// what there is.
func (n *Node) fittingReserve(c *config.Config) int64 {
	want := int64(c.Log.ReserveBytes)
	room, err := logRoom(c)
	if err != nil || room/reserveShare >= want {
		return want
	}
	n.log.Info("the reserve for alarms is smaller than log.reserve_bytes, because there is little room", "reserve_bytes", room/reserveShare, "room", room)
	return room / reserveShare
}

// logRoom returns how much the log can take: what it has and what is free, within its limits.
func logRoom(c *config.Config) (int64, error) {
	free, err := fsx.FreeBytes(existing(c.Node.DataDir))
	if err != nil {
		return 0, err
	}
	room := free - int64(c.Log.MinFreeBytes)
	err = filepath.WalkDir(logDir(c), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return nil // what is not there takes nothing
		}
		if info, err := e.Info(); err == nil {
			room += info.Size()
		}
		return nil
	})
	if c.Log.MaxBytes > 0 {
		room = min(room, int64(c.Log.MaxBytes))
	}
	return max(0, room), err
}

// uptime is the time since the machine started, or, where the system does not tell, since this process did.
func (n *Node) uptime() time.Duration {
	if ms, err := fsx.BootTime(); err == nil {
		return time.Duration(ms) * time.Millisecond
	}
	return time.Since(n.started)
}

// synchronised tells whether something keeps the clock right, as far as the system knows or the configuration says.
func (n *Node) synchronised() bool {
	if n.cfg.Load().Log.TrustClock {
		return true
	}
	ok, err := fsx.Synchronised()
	return ok && err == nil
}

// forwarded tells up to where a partition has been forwarded.
func (n *Node) forwarded(p *replica.Partition) (offset int64, forwarded bool) {
	return n.upstream.Position(context.Background(), upstream.PartitionID{Topic: p.Topic(), TopicID: p.TopicID(), Index: p.Index()})
}
