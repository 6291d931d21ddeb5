package node

import (
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

func TestKeysLandWhereKafkasDefaultPartitionerPutsThem(t *testing.T) {
	p := kgo.StickyKeyPartitioner(nil).ForTopic("t")
	for _, key := range []string{"a", "ab", "abc", "lamp-17", "city/north/lamp-17/temp", "\xff\x80\x00"} {
		for _, n := range []int{1, 2, 7, 64} {
			want := p.Partition(&kgo.Record{Key: []byte(key)}, n)
			if got := partitionOf([]byte(key), n); int(got) != want {
				t.Errorf("key %q of %d partitions: %d, want %d", key, n, got, want)
			}
		}
	}
}
