//go:build cross

package cross

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/culvert-mq/culvert/node/soak/rig"
)

const (
	messages     = 500
	readyTimeout = 60 * time.Second
	stopTimeout  = 60 * time.Second
)

// emulator returns the command that runs the target's binaries here. Without one the test is skipped,
// unless CULVERT_CROSS=require says that it must be there.
func emulator(t *testing.T, target Target) []string {
	t.Helper()
	if target.Qemu == "" {
		return nil
	}
	path, err := exec.LookPath(target.Qemu)
	if err != nil && os.Getenv("CULVERT_CROSS") == "require" {
		t.Fatal(err)
	} else if err != nil {
		t.Skip(err)
	}
	return []string{path}
}

// The released binary, on the machine it is for: what was published over MQTT before a SIGKILL, and
// produced over the native protocol before a SIGTERM, is read after the restart.
func TestServesUnderEmulation(t *testing.T) {
	for _, target := range Targets() {
		t.Run(target.Name, func(t *testing.T) {
			run := emulator(t, target)
			out := built(t, target)
			if err := rig.Build(t.Context(), rootDir(t), out, *version, target.Env...); err != nil {
				t.Fatal(err)
			}
			n, err := rig.NewNode(t.Context(), out, t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			n.Runner = run
			t.Cleanup(func() {
				if err := n.Kill(); err != nil {
					t.Error(err)
				}
			})
			if err := n.Write(rig.Config{"mqtt": "[mqtt.defaults]\ntopic = \"smoke\"\n"}); err != nil {
				t.Fatal(err)
			}
			start(t, n)

			d := &rig.Device{Name: "smoke", Topic: "city/north/lamp-17/temp", Window: 50, Limit: messages,
				Payload: func(dst []byte, _, seq int64) []byte { return fmt.Appendf(dst, "mqtt %d", seq) }}
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			if err := d.Run(ctx, n.MQTT, nil); err != nil {
				t.Fatal(errors.Join(err, errors.New(n.Log())))
			}
			if err := n.Kill(); err != nil {
				t.Fatal(err)
			}
			start(t, n)
			produce(ctx, t, n)
			if took, err := n.Stop(stopTimeout); err != nil {
				t.Fatal(err)
			} else {
				t.Logf("stopped in %v", took.Round(time.Millisecond))
			}
			start(t, n)
			consume(ctx, t, n)
		})
	}
}

func start(t *testing.T, n *rig.Node) {
	t.Helper()
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	took, err := n.Ready(t.Context(), readyTimeout)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("serves after %v", took.Round(time.Millisecond))
}

func client(t *testing.T, n *rig.Node, more ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(n.Kafka)}, more...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// produce writes behind what the device published, in batches of every compression.
func produce(ctx context.Context, t *testing.T, n *rig.Node) {
	t.Helper()
	codecs := []kgo.CompressionCodec{kgo.NoCompression(), kgo.Lz4Compression(), kgo.ZstdCompression(), kgo.SnappyCompression(), kgo.GzipCompression()}
	for i, codec := range codecs {
		cl := client(t, n, kgo.ProducerBatchCompression(codec))
		var batch []*kgo.Record
		for j := range messages / len(codecs) {
			value := fmt.Appendf(nil, "native %d", i*messages/len(codecs)+j)
			batch = append(batch, &kgo.Record{Topic: "smoke", Key: []byte("k"), Value: value, Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("v")}}})
		}
		if err := cl.ProduceSync(ctx, batch...).FirstErr(); err != nil {
			t.Fatal(errors.Join(err, errors.New(n.Log())))
		}
	}
}

func consume(ctx context.Context, t *testing.T, n *rig.Node) {
	t.Helper()
	cl := client(t, n, kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{"smoke": {0: kgo.NewOffset().AtStart()}}))
	for next := int64(0); next < 2*messages; {
		fetches := cl.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatal(errors.Join(err, errors.New(n.Log())))
		}
		for r := range fetches.RecordsAll() {
			want, key := fmt.Sprintf("mqtt %d", next), "city/north/lamp-17/temp"
			if next >= messages {
				want, key = fmt.Sprintf("native %d", next-messages), "k"
			}
			if r.Offset != next || string(r.Value) != want || string(r.Key) != key {
				t.Fatalf("offset %d holds %s=%s, want offset %d with %s=%s", r.Offset, r.Key, r.Value, next, key, want)
			}
			next++
		}
	}
}
