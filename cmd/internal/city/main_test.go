package city

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/culvert-mq/culvert/cmd/internal/mqttc"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func startSink(t testing.TB, onMessage func(int64, mqttc.Message) bool) *mqttc.Sink {
	t.Helper()
	s, err := mqttc.NewSink(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.OnMessage = onMessage
	s.Serve()
	t.Cleanup(func() { s.Close() })
	return s
}

func writeFile(t testing.TB, name string, content []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func gzipped(t testing.TB, s string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := io.WriteString(z, s); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// drain reads a source to its end and hands every event to fn.
func drain(t testing.TB, s Source, fn func(Event)) {
	t.Helper()
	for {
		var e Event
		err := s.Next(&e)
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		fn(e)
	}
}
