package admin

import (
	"fmt"
	"math"

	"github.com/prometheus/client_golang/prometheus"
)

// Figures are the values of all metrics at one moment, for a status that tells in words and tables what /metrics tells
// to machines, without counting twice.
type Figures struct {
	values     map[string]float64
	histograms map[string][]bucket
}

// bucket is one bucket of a histogram: how many observations were at most bound.
type bucket struct {
	bound float64
	count float64
}

// Gather reads all metrics of g. Of a metric with labels the sum counts.
func Gather(g prometheus.Gatherer) (Figures, error) {
	families, err := g.Gather()
	f := Figures{values: map[string]float64{}, histograms: map[string][]bucket{}}
	if err != nil {
		return f, fmt.Errorf("admin: %w", err)
	}
	for _, family := range families {
		name := family.GetName()
		for _, m := range family.GetMetric() {
			f.values[name] += m.GetCounter().GetValue() + m.GetGauge().GetValue() + m.GetUntyped().GetValue()
			if h := m.GetHistogram(); h != nil {
				f.values[name] += float64(h.GetSampleCount())
				if f.histograms[name] == nil {
					f.histograms[name] = make([]bucket, len(h.GetBucket()))
				}
				for i, b := range h.GetBucket() {
					f.histograms[name][i].bound = b.GetUpperBound()
					f.histograms[name][i].count += float64(b.GetCumulativeCount())
				}
			}
		}
	}
	return f, nil
}

// Value returns a counter or a gauge, or the number of observations of a histogram; 0 when there is none of that name.
func (f Figures) Value(name string) float64 { return f.values[name] }

// Int returns Value as a whole number.
func (f Figures) Int(name string) int64 { return int64(f.values[name]) }

// Quantile returns the value below which the share q of a histogram's observations lies, interpolated within a bucket;
// 0 when there are none. What lies above the last bucket counts as its bound.
func (f Figures) Quantile(name string, q float64) float64 {
	buckets := f.histograms[name]
	total := f.values[name]
	if len(buckets) == 0 || total == 0 {
		return 0
	}
	rank := q * total
	below, lower := 0.0, 0.0
	for _, b := range buckets {
		if b.count >= rank && !math.IsInf(b.bound, 1) {
			if b.count == below {
				return b.bound
			}
			return lower + (b.bound-lower)*(rank-below)/(b.count-below)
		}
		if math.IsInf(b.bound, 1) {
			break
		}
		below, lower = b.count, b.bound
	}
	return lower
}
