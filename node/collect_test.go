package node

import "testing"

func TestGarbageIsCollectedLessOftenWhileBulkDataFlows(t *testing.T) {
	c := collector{percent: calmPercent}
	total := int64(0)
	for i, step := range []struct {
		bytes   int64 // in each look
		looks   int
		percent int // at each of them
	}{
		{busyBytes - 1, 3, calmPercent}, {busyBytes, 2, busyPercent}, {0, calmAfter - 1, busyPercent}, {busyBytes, 1, busyPercent},
		{0, calmAfter - 1, busyPercent}, {0, 2, calmPercent}, {busyBytes, 1, busyPercent},
	} {
		for range step.looks {
			total += step.bytes
			before := c.percent
			got, changed := c.look(total)
			if got != step.percent || changed != (got != before) {
				t.Fatalf("step %d, %d bytes more: %d percent, changed %v; want %d", i, step.bytes, got, changed, step.percent)
			}
		}
	}
}
