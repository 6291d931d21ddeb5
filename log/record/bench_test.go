package record

import (
	"fmt"
	"testing"
)

// mqttRecord is what one MQTT message becomes: 150 bytes of payload and five headers.
func mqttRecord() (key, value []byte, headers []Header) {
	value = make([]byte, 150)
	copy(value, `{"sensor":"158324","speed":72,"vehicles":4,"time":"2014-09-01T00:05:00","unit":"km/h","position":{"lat":56.23,"lon":10.1}}`)
	return []byte("city/traffic/158324/speed"), value, []Header{
		{[]byte("mqtt.topic"), []byte("city/traffic/158324/speed")}, {[]byte("mqtt.qos"), []byte("1")},
		{[]byte("sensor"), []byte("158324")}, {[]byte("measure"), []byte("speed")}, {[]byte("site"), []byte("aarhus-north")},
	}
}

func TestHotPathsDoNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("pools forget under the race detector")
	}
	key, value, headers := mqttRecord()
	records := readings(500)
	var bl Builder
	buf, dst := make([]byte, 1<<20), make([]byte, 1<<20)
	tight := make([]byte, len(build(records, LZ4)))
	hot := map[string]func(){
		"Append": func() { bl.Append(1, key, value, headers) },
		"SizeOf": func() { bl.SizeOf(1, key, value, headers) },
		"Finish": func() { finish(&bl, buf, dst, records, LZ4) },
		"small":  func() { finish(&bl, buf, dst, records[:1], LZ4) },
		"tight":  func() { finish(&bl, buf, tight, records, LZ4) },
		"none":   func() { finish(&bl, buf, dst, records, None) },
		"snappy": func() { finish(&bl, buf, dst, records, Snappy) },
		"zstd":   func() { finish(&bl, buf, dst, records, Zstd) },
		"gzip":   func() { finish(&bl, buf, dst, records, Gzip) },
	}
	var r Reader
	for codec := None; codec <= Zstd; codec++ {
		b := build(records, codec)
		hot["Split "+codec.String()] = func() { _, _, _ = Split(b) }
		hot["Check "+codec.String()] = func() {
			if b.Check(testLimit) != nil {
				t.Fatal("Check")
			}
		}
		hot["FirstAt "+codec.String()] = func() { _, _, _, _ = b.FirstAt(b.MaxTimestamp(), testLimit) }
		hot["Reader "+codec.String()] = func() {
			_ = r.Reset(b, testLimit)
			for r.Next() {
			}
			if r.Err() != nil {
				t.Fatal(r.Err())
			}
		}
	}
	for name, f := range hot {
		t.Run(name, func(t *testing.T) {
			bl.Reset(buf)
			if n := testing.AllocsPerRun(200, f); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func finish(bl *Builder, buf, dst []byte, records []model, codec Codec) Batch {
	bl.Reset(buf)
	for i := range records {
		r := &records[i]
		bl.Append(r.ts, r.key, r.value, r.headers)
	}
	return bl.Finish(0, 0, codec, dst)
}

func BenchmarkBuilderAppend(b *testing.B) {
	key, value, headers := mqttRecord()
	for n := range 6 {
		b.Run(fmt.Sprintf("headers=%d", n), func(b *testing.B) {
			var bl Builder
			buf := make([]byte, 1<<20)
			bl.Reset(buf)
			b.SetBytes(int64(bl.SizeOf(1, key, value, headers[:n])))
			b.ReportAllocs()
			for b.Loop() {
				if bl.Len() > 64<<10 {
					bl.Reset(buf)
				}
				bl.Append(1_700_000_000_000+int64(bl.Count()), key, value, headers[:n])
			}
		})
	}
}

func BenchmarkBuilderFinish(b *testing.B) {
	for _, codec := range []Codec{None, LZ4, Snappy, Zstd, Gzip} {
		for _, n := range []int{1, 4, 30, 300, 3000} {
			b.Run(fmt.Sprintf("%v/records=%d", codec, n), func(b *testing.B) {
				var bl Builder
				buf, dst := make([]byte, 1<<20), make([]byte, 1<<20)
				out := finish(&bl, buf, dst, readings(n), codec)
				b.SetBytes(int64(bl.Len()))
				b.ReportMetric(float64(len(out))/float64(bl.Len()), "ratio")
				b.ReportAllocs()
				for b.Loop() {
					bl.Finish(0, 0, codec, dst)
				}
			})
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	cases := []struct {
		name    string
		records []model
		codec   Codec
	}{
		{"1000x1kB", noise(1000, 1000), None},
		{"3000x80B", readings(3000), None}, {"3000x80B/lz4", readings(3000), LZ4}, {"3000x80B/snappy", readings(3000), Snappy},
		{"3000x80B/zstd", readings(3000), Zstd}, {"3000x80B/gzip", readings(3000), Gzip}, {"30x80B/lz4", readings(30), LZ4},
		{"30x80B/zstd", readings(30), Zstd},
	}
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			batch := build(c.records, c.codec)
			b.SetBytes(int64(HeaderSize + len(naive(c.records))))
			b.ReportAllocs()
			for b.Loop() {
				if err := batch.Check(testLimit); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkReader(b *testing.B) {
	for codec := None; codec <= Zstd; codec++ {
		b.Run(codec.String(), func(b *testing.B) {
			records := readings(3000)
			batch := build(records, codec)
			b.SetBytes(int64(len(naive(records))))
			b.ReportAllocs()
			var r Reader
			for b.Loop() {
				_ = r.Reset(batch, testLimit)
				for r.Next() {
				}
				if r.Err() != nil {
					b.Fatal(r.Err())
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(records)), "ns/record")
		})
	}
}

func BenchmarkVerifyCRC(b *testing.B) {
	batch := build(noise(1000, 1000), None)
	b.SetBytes(int64(len(batch)))
	for b.Loop() {
		if !batch.VerifyCRC() {
			b.Fatal("CRC")
		}
	}
}
