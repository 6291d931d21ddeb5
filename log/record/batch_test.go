package record

import (
	"bytes"
	"errors"
	"testing"

	"github.com/twmb/franz-go/pkg/kmsg"
)

func TestBuilderWritesWhatKmsgReads(t *testing.T) {
	var bl Builder
	bl.Append(1000, []byte("k"), []byte("v"), []Header{{Key: []byte("h"), Value: nil}, {Key: []byte("i"), Value: []byte{}}})
	bl.Append(990, nil, []byte{}, nil)
	bl.Append(5000, []byte{}, nil, nil)
	b := bl.Finish(42, 7, None, nil)
	got, rest, err := Split(append(bytes.Clone(b), 1, 2, 3))
	if err != nil || len(rest) != 3 || !bytes.Equal(got, b) {
		t.Fatalf("Split: %v, rest %d", err, len(rest))
	}
	if !b.VerifyCRC() {
		t.Fatal("CRC")
	}
	var k kmsg.RecordBatch
	if err := k.ReadFrom(b); err != nil {
		t.Fatal(err)
	}
	if k.FirstOffset != 42 || k.PartitionLeaderEpoch != 7 || k.Magic != 2 || k.LastOffsetDelta != 2 || k.FirstTimestamp != 1000 ||
		k.MaxTimestamp != 5000 || k.ProducerID != -1 || k.ProducerEpoch != -1 || k.FirstSequence != -1 || k.NumRecords != 3 {
		t.Fatalf("%+v", k)
	}
	if b.BaseOffset() != 42 || b.LastOffset() != 44 || b.NextOffset() != 45 || b.Count() != 3 || b.Size() != len(b) {
		t.Fatal("accessors")
	}
}

func TestSplitRefusesWhatIsNoBatch(t *testing.T) {
	var bl Builder
	bl.Append(1, nil, nil, nil)
	b := bl.Finish(0, -1, None, nil)
	for n := range len(b) {
		if _, _, err := Split(b[:n]); !errors.Is(err, ErrShort) {
			t.Fatalf("%d bytes: %v", n, err)
		}
	}
	m := bytes.Clone(b)
	m[posMagic] = 1
	_, _, err := Split(m)
	var magic MagicError
	if !errors.Is(err, ErrMagic) || !errors.As(err, &magic) || magic != 1 {
		t.Fatal(err)
	}
	m = bytes.Clone(b)
	m[posLength+3] = 48
	if _, _, err := Split(m); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
	m[posLength] = 0xff
	if _, _, err := Split(m); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}
