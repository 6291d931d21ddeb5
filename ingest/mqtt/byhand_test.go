package mqtt

import (
	"flag"
	"log/slog"
	"os"
	"os/signal"
	"runtime/pprof"
	"testing"
)

var (
	serveAddr    = flag.String("serve", "", "address on which TestServeByHand serves until it is interrupted")
	serveJournal = flag.String("serve.journal", "", "file that TestServeByHand's log syncs before each acknowledgement")
	serveForget  = flag.Bool("serve.forget", false, "TestServeByHand's log forgets what it syncs")
	servePause   = flag.Duration("serve.pause", 0, "time that a commit of TestServeByHand takes, as if for a disk")
	serveProfile = flag.String("serve.profile", "", "file that TestServeByHand writes a CPU profile to")
)

// TestServeByHand serves a log in memory, for trying real clients and load generators:
//
//	go test ./ingest/mqtt -run TestServeByHand -timeout 0 -serve 127.0.0.1:1883 -serve.journal /tmp/journal
func TestServeByHand(t *testing.T) {
	if *serveAddr == "" {
		t.Skip("without -serve")
	}
	log := newMemLog()
	log.forget, log.pause = *serveForget, *servePause
	var journal *os.File
	if *serveJournal != "" {
		var err error
		if journal, err = os.Create(*serveJournal); err != nil {
			t.Fatal(err)
		}
		defer journal.Close()
		if _, err := journal.Write(make([]byte, 2<<20)); err != nil {
			t.Fatal(err)
		}
	}
	log.auto(t, journal)
	srv, err := NewServer(DefaultConfig(), log, testTable(t), slog.New(slog.NewTextHandler(os.Stderr, nil)), NewMetrics(nil))
	if err != nil {
		t.Fatal(err)
	}
	l := listen(t, *serveAddr)
	served := make(chan error, 1)
	go func() { served <- srv.Serve(l) }()
	if *serveProfile != "" {
		f, err := os.Create(*serveProfile)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			t.Fatal(err)
		}
		defer pprof.StopCPUProfile()
	}
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, os.Interrupt)
	<-stop
	signal.Stop(stop)
	if err := srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}
