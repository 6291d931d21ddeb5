package node

import "testing"

func TestGarbageIsCollectedLessOftenWhileBulkDataFlows(t *testing.T) {
	c := collector{percent: calmPercent}
	total := int64(0)
	for i, step := range []struct {
		bytes   int64
		percent int
	}{
		{1 << 20, calmPercent}, {busyRate, busyPercent}, {busyRate, busyPercent}, {0, busyPercent}, {0, busyPercent}, {busyRate, busyPercent},
		{0, busyPercent}, {0, busyPercent}, {0, busyPercent}, {0, busyPercent}, {0, calmPercent}, {0, calmPercent}, {busyRate, busyPercent},
	} {
		total += step.bytes
		before := c.percent
		got, changed := c.look(total)
		if got != step.percent || changed != (got != before) {
			t.Fatalf("second %d, %d bytes more: %d percent, changed %v; want %d", i, step.bytes, got, changed, step.percent)
		}
	}
}
