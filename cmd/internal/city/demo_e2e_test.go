package city

import (
	"bytes"
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/culvert-mq/culvert/cmd/internal/load/child"
	"github.com/culvert-mq/culvert/node/soak/rig"
)

// buildCulvert builds the program.
func buildCulvert(t *testing.T) string {
	t.Helper()
	root, err := rig.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "culvert")
	if err := rig.Build(t.Context(), root, file, "test"); err != nil {
		t.Fatal(err)
	}
	return file
}

func demoOptions(t *testing.T, binary string, src Source) DemoOptions {
	return DemoOptions{Binary: binary, Dir: t.TempDir(), Source: src, Patience: 30 * time.Second,
		Fleet: FleetOptions{Topic: "city/test/{id}/{measure}", ClientID: "test"}, Step: t.Logf}
}

func TestDemoProvesTheWholePath(t *testing.T) {
	binary := buildCulvert(t)

	t.Run("a recording, to a second culvert", func(t *testing.T) {
		var csv bytes.Buffer
		csv.WriteString("sensor,time,a,b\n")
		for i := range 300 {
			for _, sensor := range []string{"x", "y", "z"} {
				csv.WriteString(sensor + "," + time.Unix(int64(1000+i), 0).UTC().Format(time.RFC3339) + ",1,2.5\n")
			}
		}
		l := layout(t, "generic")
		l.ID, l.Time = "sensor", "time"
		src, err := open(t, gzipped(t, csv.String()), l)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Demo(t.Context(), demoOptions(t, binary, src))
		if err != nil || !r.Ok() || r.Forwarded != 1800 || r.Devices != 3 {
			t.Errorf("%+v %v", r, err)
		}
	})

	t.Run("a city with dropouts, to a centre that is there already", func(t *testing.T) {
		centre, err := child.StartNode(t.Context(), child.NodeOptions{Binary: binary, Dir: t.TempDir(), Name: "centre"})
		if err != nil {
			t.Fatal(err)
		}
		defer centre.Kill()
		src, err := NewSimulator(SimulatorOptions{Devices: 60, Seed: 1, Start: monday, Count: 30_000})
		if err != nil {
			t.Fatal(err)
		}
		o := demoOptions(t, binary, src)
		o.Centre = centre.Kafka
		r, err := Demo(t.Context(), o)
		if err != nil || !r.Ok() || r.Published != 30_000 || r.Reconnects == 0 {
			t.Errorf("%+v %v", r, err)
		}
	})

	t.Run("a centre that is not there", func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		o := demoOptions(t, binary, values(1, "a"))
		o.Centre = "127.0.0.1:1"
		if _, err := Demo(ctx, o); err == nil {
			t.Error("forwarded to nobody")
		}
	})
}
