package mqttc

import (
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// startSink runs a sink for the length of a test.
func startSink(t testing.TB, onMessage func(int64, Message) bool) *Sink {
	t.Helper()
	s, err := NewSink(t.Context(), "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.OnMessage = onMessage
	s.Serve()
	t.Cleanup(func() { s.Close() })
	return s
}
