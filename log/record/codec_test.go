package record

import (
	"bytes"
	stdgzip "compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"pgregory.net/rapid"
)

// packer compresses as some client does.
type packer struct {
	name  string
	codec Codec
	pack  func(raw []byte) []byte
}

func lz4Pack(options ...lz4.Option) func([]byte) []byte {
	return func(raw []byte) []byte {
		var buf bytes.Buffer
		w := lz4.NewWriter(&buf)
		must(w.Apply(options...))
		_, err := w.Write(raw)
		must(err)
		must(w.Close())
		return buf.Bytes()
	}
}

func gzipPack(raw []byte) []byte {
	var buf bytes.Buffer
	w := stdgzip.NewWriter(&buf)
	_, err := w.Write(raw)
	must(err)
	must(w.Close())
	return buf.Bytes()
}

// xerialPack is the framing of Java's snappy library, with chunks of size bytes.
func xerialPack(size int) func(raw []byte) []byte {
	return func(raw []byte) []byte {
		out := []byte{0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1}
		for len(raw) > 0 {
			n := min(size, len(raw))
			c := snappy.Encode(nil, raw[:n])
			out = binary.BigEndian.AppendUint32(out, uint32(len(c)))
			out = append(out, c...)
			raw = raw[n:]
		}
		return out
	}
}

func zstdPack(streaming bool, options ...zstd.EOption) func([]byte) []byte {
	return func(raw []byte) []byte {
		var buf bytes.Buffer
		w, err := zstd.NewWriter(&buf, options...)
		must(err)
		if !streaming {
			return w.EncodeAll(raw, nil)
		}
		for len(raw) > 0 {
			n, err := w.Write(raw[:min(len(raw), 10000)])
			must(err)
			raw = raw[n:]
			must(w.Flush())
		}
		must(w.Close())
		return buf.Bytes()
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// packers are the forms in which clients compress.
var packers = []packer{
	{"gzip", Gzip, gzipPack},
	{"gzip in two members", Gzip, func(raw []byte) []byte {
		return append(gzipPack(raw[:len(raw)/2]), gzipPack(raw[len(raw)/2:])...)
	}},
	{"bare snappy block", Snappy, func(raw []byte) []byte { return snappy.Encode(nil, raw) }},
	{"xerial snappy, 32 KiB chunks", Snappy, xerialPack(32 << 10)},
	{"xerial snappy, 100 byte chunks", Snappy, xerialPack(100)},
	{"lz4, 4 MiB blocks, content checksum", LZ4, lz4Pack()},
	{"lz4, 64 KiB blocks, no checksum", LZ4, lz4Pack(lz4.BlockSizeOption(lz4.Block64Kb), lz4.ChecksumOption(false))},
	{"lz4, all checksums", LZ4, lz4Pack(lz4.BlockSizeOption(lz4.Block256Kb), lz4.BlockChecksumOption(true))},
	{"lz4, high compression", LZ4, lz4Pack(lz4.BlockSizeOption(lz4.Block1Mb), lz4.CompressionLevelOption(lz4.Level9))},
	{"zstd with content size", Zstd, zstdPack(false)},
	{"zstd stream, flushed often", Zstd, zstdPack(true, zstd.WithEncoderConcurrency(1))},
	{"zstd, small window, checksum", Zstd, zstdPack(true, zstd.WithWindowSize(1<<10), zstd.WithEncoderCRC(true))},
	{"zstd in two frames", Zstd, func(raw []byte) []byte {
		return append(zstdPack(false)(raw[:len(raw)/2]), zstdPack(true)(raw[len(raw)/2:])...)
	}},
}

func TestBatchesThatClientsCompressedAreCheckedAndRead(t *testing.T) {
	sets := map[string][]model{
		"one": readings(1), "some": readings(300), "many": readings(7_000), "noise": noise(300, 1000),
		"record larger than every block": {{ts: 1, value: bytes.Repeat([]byte("0123456789abcde"), 300_000)}, {ts: 2, value: []byte("x")}},
	}
	for _, p := range packers {
		for name, records := range sets {
			t.Run(p.name+"/"+name, func(t *testing.T) {
				b := clientBatch(records, p.codec, p.pack(naive(records)))
				if err := b.Check(testLimit); err != nil {
					t.Fatal(err)
				}
				wantRecords(t, b, 0, records)
			})
		}
	}
}

func TestLimitIsExact(t *testing.T) {
	records := readings(3000)
	raw := naive(records)
	for _, p := range packers {
		b := clientBatch(records, p.codec, p.pack(raw))
		if err := b.Check(len(raw)); err != nil {
			t.Errorf("%s: limit of just its size: %v", p.name, err)
		}
		for _, limit := range []int{len(raw) - 1, len(raw) / 2, 1, 0, -1} {
			if err := b.Check(limit); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: limit %d of %d: %v", p.name, limit, len(raw), err)
			}
			var r Reader
			_ = r.Reset(b, limit)
			for r.Next() {
			}
			if !errors.Is(r.Err(), ErrTooLarge) {
				t.Errorf("%s: Reader, limit %d of %d: %v", p.name, limit, len(raw), r.Err())
			}
			r.Close()
			if _, err := Recompress(b, None, nil, limit); !errors.Is(err, ErrTooLarge) {
				t.Errorf("%s: Recompress, limit %d of %d: %v", p.name, limit, len(raw), err)
			}
		}
	}
}

func TestRecompressKeepsRecordsAndHeader(t *testing.T) {
	records := readings(500)
	raw := naive(records)
	sources := append([]packer{{"none", None, bytes.Clone}}, packers...)
	for _, p := range sources {
		for to := None; to <= Zstd; to++ {
			for _, room := range []int{0, 100, 1 << 20} {
				t.Run(fmt.Sprintf("%s to %v in %d", p.name, to, room), func(t *testing.T) {
					b := clientBatch(records, p.codec, p.pack(raw))
					b.SetBaseOffset(77)
					b.SetLeaderEpoch(5)
					b.SetProducer(9, 8, 7)
					out, err := Recompress(b, to, make([]byte, room), testLimit)
					if err != nil {
						t.Fatal(err)
					}
					if out.Attributes().Codec() != to || out.BaseOffset() != 77 || out.LeaderEpoch() != 5 || out.ProducerID() != 9 ||
						out.ProducerEpoch() != 8 || out.BaseSequence() != 7 || out.MaxTimestamp() != b.MaxTimestamp() {
						t.Fatalf("header changed: %x", []byte(out[:HeaderSize]))
					}
					mustSplit(t, out)
					if err := out.Check(testLimit); err != nil {
						t.Fatal(err)
					}
					wantRecords(t, out, 77, records)
				})
			}
		}
	}
}

func TestRecompressLeavesNoiseUncompressed(t *testing.T) {
	records := noise(20, 500)
	for _, p := range packers {
		out, err := Recompress(clientBatch(records, p.codec, p.pack(naive(records))), p.codec%4+1, nil, testLimit)
		if err != nil || out.Attributes().Codec() != None {
			t.Fatalf("%s: %v, %v", p.name, out.Attributes().Codec(), err)
		}
		wantRecords(t, out, 0, records)
	}
	b := clientBatch(records, None, naive(records))
	if out, err := Recompress(b, LZ4, nil, 0); err != nil || &out[0] != &b[0] {
		t.Fatalf("noise is copied to stay as it is: %v", err)
	}
	if _, err := Recompress(b, Zstd+1, nil, 0); !errors.Is(err, ErrCodec) {
		t.Fatal(err)
	}
}

// The decoders of the libraries, which stand for those of the clients, read what is written here.
func TestLibrariesReadWhatIsCompressedHere(t *testing.T) {
	unpack := map[Codec]func([]byte) ([]byte, error){
		Gzip: func(p []byte) ([]byte, error) {
			z, err := stdgzip.NewReader(bytes.NewReader(p))
			if err != nil {
				return nil, err
			}
			return io.ReadAll(z)
		},
		Snappy: func(p []byte) ([]byte, error) { return snappy.Decode(nil, p) },
		LZ4:    func(p []byte) ([]byte, error) { return io.ReadAll(lz4.NewReader(bytes.NewReader(p))) },
		Zstd: func(p []byte) ([]byte, error) {
			z, err := zstd.NewReader(nil)
			if err != nil {
				return nil, err
			}
			defer z.Close()
			return z.DecodeAll(p, nil)
		},
	}
	mixed := append(readings(300), append(noise(100, 2000), readings(5000)...)...)
	for i := range mixed {
		mixed[i].ts = int64(i)
	}
	for codec, f := range unpack {
		for _, records := range [][]model{readings(10), readings(1000), readings(20_000), mixed} {
			b := build(records, codec)
			if b.Attributes().Codec() != codec {
				t.Fatalf("%v: not compressed", codec)
			}
			got, err := f(b.records())
			if err != nil || !bytes.Equal(got, naive(records)) {
				t.Errorf("%v, %d records: %v", codec, len(records), err)
			}
		}
	}
}

func TestLZ4FrameOfEverySizeRoundTrips(t *testing.T) {
	r := naive(noise(400, 1000))
	c := new(lz4Compressor)
	for _, n := range []int{0, 1, 12, 13, 255, 64<<10 - 1, 64 << 10, 64<<10 + 1, 256<<10 - 1, 256 << 10, 256<<10 + 1, len(r)} {
		for _, src := range [][]byte{r[:n], bytes.Repeat([]byte("abcdefg "), n/8)} {
			dst := make([]byte, len(src)+100)
			size := lz4Compress(c, dst, src)
			got, err := io.ReadAll(lz4.NewReader(bytes.NewReader(dst[:size])))
			if err != nil || !bytes.Equal(got, src) {
				t.Fatalf("%d bytes: %v", len(src), err)
			}
			for short := range min(size, 40) {
				if n := lz4Compress(c, dst[:short], src); n != 0 {
					t.Fatalf("%d bytes fit into %d", len(src), short)
				}
			}
			if n := lz4Compress(c, dst[:size-1], src); n != 0 {
				t.Fatalf("%d bytes of %d fit into %d", n, size, size-1)
			}
		}
	}
}

func TestLZ4BlockLenIsWhatDecodingFinds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		src := bytes.Join(rapid.SliceOfN(drawBytes(false), 1, 50).Draw(t, "src"), nil)
		block := make([]byte, lz4.CompressBlockBound(len(src)))
		n, err := lz4.CompressBlock(src, block, nil)
		if err != nil {
			t.Fatalf("%v", err)
		}
		if got := lz4BlockLen(block[:n]); n > 0 && got != len(src) {
			t.Fatalf("%d, want %d", got, len(src))
		}
		damaged := append(rapid.SliceOfN(rapid.Byte(), 0, 30).Draw(t, "junk"), block[:n]...)
		got := lz4BlockLen(damaged)
		// On some processors the library also takes a block that ends in a match, which the format forbids.
		if n, err := lz4.UncompressBlock(damaged, make([]byte, 1<<20)); err == nil && n != got && got >= 0 {
			t.Fatalf("%d, but decoding finds %d", got, n)
		}
	})
}

func TestXXH32(t *testing.T) {
	// Published values of the reference implementation, seed 0.
	for in, want := range map[string]uint32{"": 0x02CC5D05, "a": 0x550D7456, "abc": 0x32D153FF,
		"Nobody inspects the spammish repetition": 0xE2293B2F} {
		if got := xxhSum([]byte(in)); got != want {
			t.Errorf("%q: %08x, want %08x", in, got, want)
		}
		x := newXXH32()
		for _, c := range []byte(in) {
			x.write([]byte{c})
		}
		if got := x.sum(); got != want {
			t.Errorf("%q byte by byte: %08x, want %08x", in, got, want)
		}
	}
}

func TestParseCodecReadsWhatStringWrites(t *testing.T) {
	for c := None; c <= Zstd; c++ {
		if got, err := ParseCodec(c.String()); err != nil || got != c {
			t.Errorf("%v: %v, %v", c, got, err)
		}
	}
	if got, err := ParseCodec("Uncompressed"); err != nil || got != None {
		t.Error(got, err)
	}
	if _, err := ParseCodec("lzma"); !errors.Is(err, ErrCodec) {
		t.Error(err)
	}
	if s := Codec(6).String(); s != "codec(6)" {
		t.Error(s)
	}
}

func TestLZ4FrameBeginsAsFormatSays(t *testing.T) {
	for n, want := range map[int]string{64 << 10: "\x04\x22\x4d\x18\x60\x40\x82", 64<<10 + 1: "\x04\x22\x4d\x18\x60\x50\xfb"} {
		dst := make([]byte, n)
		if lz4Compress(new(lz4Compressor), dst, make([]byte, n)) == 0 || string(dst[:7]) != want {
			t.Errorf("%d bytes: %x", n, dst[:7])
		}
	}
}
