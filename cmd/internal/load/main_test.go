package load

import (
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
