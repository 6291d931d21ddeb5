//go:build powercut

package powercut

import (
	"bufio"
	"context"
	"encoding/gob"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// marksName is the file in the root of the mount into which the driver writes its marks, one a write.
const marksName = ".marks"

// recorder keeps the files of the mount in memory and writes down what is done to them.
type recorder struct {
	mu   sync.Mutex
	out  *bufio.Writer
	enc  *gob.Encoder
	n    int // entries written
	ino  uint64
	rng  *rand.Rand
	err  error // of writing the journal
	kill int   // entries until the driver is killed, 0 for never
	pid  int   // the driver
}

// add writes an entry; the caller holds mu and has made the call take effect.
func (r *recorder) add(e event) {
	if err := r.enc.Encode(&e); err != nil {
		r.err = errors.Join(r.err, err)
	}
	r.n++
	if r.kill > 0 {
		if r.kill--; r.kill == 0 {
			_ = syscall.Kill(r.pid, syscall.SIGKILL) // it may have ended by itself
		}
	}
}

// arm has the driver killed right behind the n-th entry from now.
func (r *recorder) arm(pid, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pid, r.kill = pid, n
}

// refuse answers a call that the model does not know, and makes the journal useless by it.
func (r *recorder) refuse(ino uint64, what string) syscall.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(event{Kind: evRefused, Ino: ino, Name: what})
	return syscall.EOPNOTSUPP
}

// sync takes as long as a disk does, in which other calls go on: what they do is not synced by it.
func (r *recorder) sync(ino uint64) syscall.Errno {
	r.mu.Lock()
	begin := r.n
	took := time.Duration(r.rng.ExpFloat64() * float64(100*time.Microsecond))
	if r.rng.IntN(100) == 0 {
		took = 5 * time.Millisecond
	}
	r.mu.Unlock()
	<-time.After(took)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.add(event{Kind: evSync, Ino: ino, Begin: begin})
	return 0
}

// child makes a node of the tree that stays when the kernel forgets it.
func (r *recorder) child(ctx context.Context, parent *fusefs.Inode, dir bool) (*fusefs.Inode, uint64) {
	r.ino++
	if dir {
		return parent.NewPersistentInode(ctx, &memDir{r: r, ino: r.ino}, fusefs.StableAttr{Mode: syscall.S_IFDIR, Ino: r.ino}), r.ino
	}
	return parent.NewPersistentInode(ctx, &memFile{r: r, ino: r.ino}, fusefs.StableAttr{Mode: syscall.S_IFREG, Ino: r.ino}), r.ino
}

// memDir is a directory.
type memDir struct {
	fusefs.Inode
	r   *recorder
	ino uint64
}

var (
	_ fusefs.NodeCreater   = (*memDir)(nil)
	_ fusefs.NodeMkdirer   = (*memDir)(nil)
	_ fusefs.NodeLinker    = (*memDir)(nil)
	_ fusefs.NodeUnlinker  = (*memDir)(nil)
	_ fusefs.NodeRmdirer   = (*memDir)(nil)
	_ fusefs.NodeRenamer   = (*memDir)(nil)
	_ fusefs.NodeFsyncer   = (*memDir)(nil)
	_ fusefs.NodeGetattrer = (*memDir)(nil)
	_ fusefs.NodeSetattrer = (*memDir)(nil)
	_ fusefs.NodeStatfser  = (*memDir)(nil)
	_ fusefs.NodeSymlinker = (*memDir)(nil)
	_ fusefs.NodeMknoder   = (*memDir)(nil)
)

func (d *memDir) Create(ctx context.Context, name string, _, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	node, ino := d.r.child(ctx, &d.Inode, false)
	out.Mode, out.Nlink = mode, 1
	d.r.add(event{Kind: evCreate, Ino: ino, Dir: d.ino, Name: name})
	return node, nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (d *memDir) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	node, ino := d.r.child(ctx, &d.Inode, true)
	out.Mode, out.Nlink = mode&0o7777|syscall.S_IFDIR, 2
	d.r.add(event{Kind: evMkdir, Ino: ino, Dir: d.ino, Name: name})
	return node, 0
}

func (d *memDir) Link(_ context.Context, target fusefs.InodeEmbedder, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	node := target.EmbeddedInode()
	out.Mode, out.Nlink, out.Size = 0o600, 1, uint64(len(target.(*memFile).data)) // only files are linked
	d.r.add(event{Kind: evLink, Ino: node.StableAttr().Ino, Dir: d.ino, Name: name})
	return node, 0
}

func (d *memDir) remove(name string) syscall.Errno {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	node := d.GetChild(name)
	if node == nil {
		return syscall.ENOENT
	}
	if len(node.Children()) > 0 {
		return syscall.ENOTEMPTY
	}
	d.r.add(event{Kind: evUnlink, Ino: node.StableAttr().Ino, Dir: d.ino, Name: name})
	return 0
}

func (d *memDir) Unlink(_ context.Context, name string) syscall.Errno { return d.remove(name) }
func (d *memDir) Rmdir(_ context.Context, name string) syscall.Errno  { return d.remove(name) }

func (d *memDir) Rename(_ context.Context, name string, to fusefs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	target, ok := to.(*memDir)
	if !ok || flags != 0 {
		return d.r.refuse(d.ino, fmt.Sprintf("rename of %s with flags %d", name, flags))
	}
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	node := d.GetChild(name)
	if node == nil {
		return syscall.ENOENT
	}
	d.r.add(event{Kind: evRename, Ino: node.StableAttr().Ino, Dir: d.ino, Name: name, NewDir: target.ino, NewName: newName})
	return 0
}

func (d *memDir) Fsync(context.Context, fusefs.FileHandle, uint32) syscall.Errno {
	return d.r.sync(d.ino)
}

func (d *memDir) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Nlink = 0o700, 2
	return 0
}

func (d *memDir) Setattr(ctx context.Context, f fusefs.FileHandle, _ *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	return d.Getattr(ctx, f, out)
}

func (d *memDir) Symlink(_ context.Context, _, name string, _ *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, d.r.refuse(d.ino, "symlink "+name)
}

func (d *memDir) Mknod(_ context.Context, name string, _, _ uint32, _ *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	return nil, d.r.refuse(d.ino, "mknod "+name)
}

func (d *memDir) Statfs(_ context.Context, out *fuse.StatfsOut) syscall.Errno {
	*out = fuse.StatfsOut{Blocks: 1 << 24, Bfree: 1 << 23, Bavail: 1 << 23, Bsize: 4096, Frsize: 4096, NameLen: 255}
	return 0
}

// memFile is a regular file. Its data is guarded by recorder.mu.
type memFile struct {
	fusefs.Inode
	r    *recorder
	ino  uint64
	data []byte
}

var (
	_ fusefs.NodeOpener    = (*memFile)(nil)
	_ fusefs.NodeReader    = (*memFile)(nil)
	_ fusefs.NodeWriter    = (*memFile)(nil)
	_ fusefs.NodeFsyncer   = (*memFile)(nil)
	_ fusefs.NodeAllocater = (*memFile)(nil)
	_ fusefs.NodeGetattrer = (*memFile)(nil)
	_ fusefs.NodeSetattrer = (*memFile)(nil)
)

// Open keeps the kernel's pages: all writes pass through them, so that they are never older than the data here.
func (f *memFile) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_KEEP_CACHE, 0
}

func (f *memFile) Read(_ context.Context, _ fusefs.FileHandle, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	off = min(off, int64(len(f.data)))
	return fuse.ReadResultData(dest[:copy(dest, f.data[off:])]), 0
}

func (f *memFile) Write(_ context.Context, _ fusefs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	f.grow(off + int64(len(data)))
	copy(f.data[off:], data)
	f.r.add(event{Kind: evWrite, Ino: f.ino, Off: off, Data: data})
	return uint32(len(data)), 0
}

func (f *memFile) grow(size int64) {
	if n := size - int64(len(f.data)); n > 0 {
		f.data = append(f.data, make([]byte, n)...)
	}
}

func (f *memFile) Fsync(context.Context, fusefs.FileHandle, uint32) syscall.Errno {
	return f.r.sync(f.ino)
}

// Allocate knows the plain kind, which lengthens the file, and the one that only reserves blocks.
func (f *memFile) Allocate(_ context.Context, _ fusefs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	const keepSize = 1 // FALLOC_FL_KEEP_SIZE
	switch mode {
	case 0:
		f.r.mu.Lock()
		defer f.r.mu.Unlock()
		if end := int64(off + size); end > int64(len(f.data)) {
			f.grow(end)
			f.r.add(event{Kind: evSize, Ino: f.ino, Size: end})
		}
		return 0
	case keepSize:
		return 0
	}
	return f.r.refuse(f.ino, fmt.Sprintf("fallocate with mode %d", mode))
}

func (f *memFile) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	f.r.mu.Lock()
	defer f.r.mu.Unlock()
	out.Mode, out.Nlink, out.Size = 0o600, 1, uint64(len(f.data))
	return 0
}

func (f *memFile) Setattr(ctx context.Context, h fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		f.r.mu.Lock()
		if n := int64(size); n < int64(len(f.data)) {
			f.data = append([]byte(nil), f.data[:n]...) // what a later growth shows again is zeros
		} else {
			f.grow(n)
		}
		f.r.add(event{Kind: evSize, Ino: f.ino, Size: int64(size)})
		f.r.mu.Unlock()
	}
	return f.Getattr(ctx, h, out)
}

// marksFile takes the driver's marks.
type marksFile struct {
	fusefs.Inode
	r *recorder
}

var (
	_ fusefs.NodeOpener    = (*marksFile)(nil)
	_ fusefs.NodeWriter    = (*marksFile)(nil)
	_ fusefs.NodeGetattrer = (*marksFile)(nil)
)

func (m *marksFile) Open(context.Context, uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	return nil, fuse.FOPEN_DIRECT_IO, 0
}

func (m *marksFile) Write(_ context.Context, _ fusefs.FileHandle, data []byte, _ int64) (uint32, syscall.Errno) {
	m.r.mu.Lock()
	defer m.r.mu.Unlock()
	m.r.add(event{Kind: evMark, Data: data})
	return uint32(len(data)), 0
}

func (m *marksFile) Getattr(_ context.Context, _ fusefs.FileHandle, out *fuse.AttrOut) syscall.Errno {
	out.Mode, out.Nlink = 0o600, 1
	return 0
}

// recorderConfig is what a recorder is started with.
type recorderConfig struct {
	Mount   string // where to mount
	Journal string // file to write the journal to
	Base    string // directory whose contents are on the disk from the beginning; "" for an empty disk
	Prior   []mark // what the driver has noted before that
	Seed    uint64
}

// newRecorder mounts the file system.
func newRecorder(cfg recorderConfig) (*recorder, *fuse.Server, error) {
	f, err := os.Create(cfg.Journal)
	if err != nil {
		return nil, nil, err
	}
	r := &recorder{out: bufio.NewWriterSize(f, 1<<20), ino: rootIno, rng: rand.New(rand.NewPCG(cfg.Seed, 0xd15c))}
	r.enc = gob.NewEncoder(r.out)
	forever := 24 * time.Hour // whatever changes does so through this mount
	root := &memDir{r: r, ino: rootIno}
	var loading error
	server, err := fusefs.Mount(cfg.Mount, root, &fusefs.Options{
		EntryTimeout: &forever, AttrTimeout: &forever,
		RootStableAttr: &fusefs.StableAttr{Ino: rootIno},
		OnAdd: func(ctx context.Context) {
			marks := root.NewPersistentInode(ctx, &marksFile{r: r}, fusefs.StableAttr{Mode: syscall.S_IFREG, Ino: 1 << 32})
			root.AddChild(marksName, marks, false)
			if cfg.Base != "" {
				loading = r.load(ctx, root, cfg.Base)
			}
			for i := range cfg.Prior {
				r.add(event{Kind: evMark, Data: cfg.Prior[i].encode()})
			}
			begin := mark{Kind: markBase}
			r.add(event{Kind: evMark, Data: begin.encode()})
		},
		MountOptions: fuse.MountOptions{
			DirectMountStrict: true, FsName: "powercut", Name: "powercut", MaxWrite: 1 << 20,
			DisableXAttrs: true, DisableReadDirPlus: true, ExplicitDataCacheControl: true,
		},
	})
	return r, server, errors.Join(err, loading)
}

// load takes the files of a directory into the tree and the journal.
func (r *recorder) load(ctx context.Context, root *memDir, base string) error {
	nodes := map[string]*memDir{".": root}
	return fs.WalkDir(os.DirFS(base), ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || path == "." {
			return err
		}
		parent := nodes[filepath.Dir(path)]
		node, ino := r.child(ctx, &parent.Inode, e.IsDir())
		parent.AddChild(e.Name(), node, false)
		if e.IsDir() {
			nodes[path] = node.Operations().(*memDir)
			r.add(event{Kind: evMkdir, Ino: ino, Dir: parent.ino, Name: e.Name()})
			return nil
		}
		data, err := os.ReadFile(filepath.Join(base, path))
		if err != nil {
			return err
		}
		node.Operations().(*memFile).data = data
		r.add(event{Kind: evCreate, Ino: ino, Dir: parent.ino, Name: e.Name()})
		r.add(event{Kind: evWrite, Ino: ino, Data: data})
		return nil
	})
}

// close ends the journal.
func (r *recorder) close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return errors.Join(r.err, r.out.Flush())
}
