package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"time"
)

// DiskOptions say what RunDisk measures: the bare cost of what a durable broker cannot avoid.
type DiskOptions struct {
	Dir        string
	Overwrites int   // 4 kB overwrites of a preallocated file, each synced
	CommitSize int64 // bytes of a commit of the plain file; 0: no plain file
	Bytes      int64 // written to the plain file in all
}

// DefaultDiskOptions takes a second or so on an SSD.
func DefaultDiskOptions() DiskOptions {
	return DiskOptions{Dir: ".", Overwrites: 2000, CommitSize: 256 << 10, Bytes: 256 << 20}
}

// DiskReport is what the disk can do.
type DiskReport struct {
	Dir         string   `json:"dir"`
	Overwrite   *Latency `json:"overwrite_4k_and_sync,omitempty"`
	CommitSize  int64    `json:"commit_bytes,omitempty"`
	Commit      *Latency `json:"commit_and_sync,omitempty"`
	MBPerSecond float64  `json:"plain_file_mb_per_second,omitempty"`
}

const (
	blockSize = 4096
	ringSize  = 8 << 20 // bytes of the preallocated file
)

// RunDisk measures in files of its own below o.Dir and removes them.
func RunDisk(ctx context.Context, o DiskOptions) (*DiskReport, error) {
	if o.Overwrites < 0 || o.CommitSize < 0 || o.CommitSize > 64<<20 || o.Bytes < 0 {
		return nil, fmt.Errorf("%w: %d overwrites, commits of %d bytes, %d bytes", ErrOptions, o.Overwrites, o.CommitSize, o.Bytes)
	}
	dir, err := os.MkdirTemp(o.Dir, "culvert-yardstick-")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	r := &DiskReport{Dir: o.Dir}
	if o.Overwrites > 0 {
		if r.Overwrite, err = overwrites(ctx, filepath.Join(dir, "ring"), o.Overwrites); err != nil {
			return nil, err
		}
	}
	if o.CommitSize > 0 {
		r.CommitSize = o.CommitSize
		if r.Commit, r.MBPerSecond, err = commits(ctx, filepath.Join(dir, "plain"), o.CommitSize, o.Bytes); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// overwrites times writing one block of a preallocated file and syncing it, block after block.
func overwrites(ctx context.Context, path string, n int) (*Latency, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if _, err := f.Write(make([]byte, ringSize)); err != nil {
		return nil, err
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	h, block, rng := newHistogram(), make([]byte, blockSize), noise(1)
	for i := range n {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		rng.bytes(block)
		start := time.Now()
		if _, err := f.WriteAt(block, int64(i)*blockSize%ringSize); err != nil {
			return nil, err
		}
		if err := fdatasync(f); err != nil {
			return nil, err
		}
		_ = h.RecordValue(min(int64(time.Since(start)), maxLatency))
	}
	l := newLatency(h)
	return &l, nil
}

// commits times appending to a plain file, synced after every commit.
func commits(ctx context.Context, path string, size, total int64) (*Latency, float64, error) {
	f, err := os.Create(path)
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	data, rng, h := make([]byte, size), noise(2), newHistogram()
	rng.bytes(data)
	began, written := time.Now(), int64(0)
	for written < total {
		if ctx.Err() != nil {
			return nil, 0, ctx.Err()
		}
		start := time.Now()
		if _, err := f.Write(data); err != nil {
			return nil, 0, err
		}
		if err := fdatasync(f); err != nil {
			return nil, 0, err
		}
		_ = h.RecordValue(min(int64(time.Since(start)), maxLatency))
		written += size
	}
	l := newLatency(h)
	return &l, float64(written) / time.Since(began).Seconds() / 1e6, nil
}

// CopyReport is what the loopback device can do.
type CopyReport struct {
	Bytes       int64   `json:"bytes"`
	Seconds     float64 `json:"seconds"`
	MBPerSecond float64 `json:"tcp_copy_mb_per_second"`
}

const copyChunk = 1 << 20 // bytes of one write and of one read

// RunCopy sends bytes over a TCP connection on loopback and reads them: the bare yardstick of a fetch.
func RunCopy(ctx context.Context, bytes int64) (*CopyReport, error) {
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	sent := make(chan error, 1)
	go func() { sent <- sendBytes(ln, bytes) }()
	conn, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", ln.Addr().String())
	if err != nil {
		ln.Close()
		return nil, errors.Join(err, <-sent)
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	buf, start, got := make([]byte, copyChunk), time.Now(), int64(0)
	for {
		n, err := conn.Read(buf)
		got += int64(n)
		if err != nil {
			if !errors.Is(err, io.EOF) {
				conn.Close()
				return nil, errors.Join(err, <-sent, ctx.Err())
			}
			break
		}
	}
	seconds := time.Since(start).Seconds()
	conn.Close()
	if err := <-sent; err != nil {
		return nil, err
	}
	return &CopyReport{Bytes: got, Seconds: seconds, MBPerSecond: float64(got) / seconds / 1e6}, nil
}

func sendBytes(ln net.Listener, bytes int64) error {
	conn, err := ln.Accept()
	if err != nil {
		return err
	}
	defer conn.Close()
	chunk := make([]byte, copyChunk)
	for bytes > 0 {
		n, err := conn.Write(chunk[:min(bytes, copyChunk)])
		if err != nil {
			return err
		}
		bytes -= int64(n)
	}
	return nil
}
