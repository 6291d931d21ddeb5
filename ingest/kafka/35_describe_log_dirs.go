package kafka

import (
	"context"

	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/culvert-mq/culvert/sync/meta"
)

// DescribeLogDirs: how much of the disk the partitions take. KIP-113, KIP-827 (size of the disk). There is one directory,
// and no partition is on its way to another.
func (s *Server) describeLogDirs(_ context.Context, _ *call, req *kmsg.DescribeLogDirsRequest) kmsg.Response {
	resp := new(kmsg.DescribeLogDirsResponse)
	resp.Default()
	dir := kmsg.NewDescribeLogDirsResponseDir()
	dir.Dir, dir.TotalBytes, dir.UsableBytes = s.cfg.DataDir, -1, -1
	if s.cfg.Space != nil {
		if total, free, err := s.cfg.Space(); err == nil {
			dir.TotalBytes, dir.UsableBytes = total, free
		}
	}
	st := s.meta.State()
	seen := map[TopicPartition]bool{}
	if req.Topics == nil {
		for _, t := range st.SortedTopics() {
			all := make([]int32, len(t.Partitions))
			for i := range all {
				all[i] = int32(i)
			}
			dir.Topics = append(dir.Topics, s.logDirTopic(t, all, seen))
		}
	}
	for i := range req.Topics {
		if t := st.Topic(req.Topics[i].Topic); t != nil {
			dir.Topics = append(dir.Topics, s.logDirTopic(t, req.Topics[i].Partitions, seen))
		}
	}
	resp.Dirs = []kmsg.DescribeLogDirsResponseDir{dir}
	return resp
}

// logDirTopic tells of those of the partitions that this node has, each once.
func (s *Server) logDirTopic(t *meta.Topic, partitions []int32, seen map[TopicPartition]bool) kmsg.DescribeLogDirsResponseDirTopic {
	dt := kmsg.NewDescribeLogDirsResponseDirTopic()
	dt.Topic = t.Name
	for _, i := range partitions {
		p, err := s.logs.Partition(t.Name, i)
		if err != nil || seen[TopicPartition{t.Name, i}] {
			continue
		}
		seen[TopicPartition{t.Name, i}] = true
		dp := kmsg.NewDescribeLogDirsResponseDirTopicPartition()
		dp.Partition, dp.Size = i, p.Size()
		dt.Partitions = append(dt.Partitions, dp)
	}
	return dt
}
