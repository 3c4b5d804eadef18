// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// metaSuffix is what the metadata file's name has behind the arena's, as in memcached.
const metaSuffix = ".meta"

// Backing is memory that outlives the process: a file, best on tmpfs, or a memfd that was handed over.
// It holds what clients stored, so it is its owner's alone, and one process's at a time.
type Backing struct {
	file *os.File
	// meta is the path of the metadata file beside it; empty if there is none.
	meta string
}

// BackingFile opens or creates the arena file at path. The file path.meta beside it tells that the arena was
// left by a graceful stop; without it nothing is reattached.
func BackingFile(path string) (*Backing, error) {
	fd, err := unix.Open(path, unix.O_RDWR|unix.O_CREAT|unix.O_CLOEXEC|unix.O_NOFOLLOW, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open arena %s: %w", path, err)
	}
	b := &Backing{file: os.NewFile(uintptr(fd), path), meta: path + metaSuffix}
	if err := b.claim(); err != nil {
		return nil, errors.Join(err, b.file.Close())
	}
	if info, err := os.Lstat(b.meta); err == nil && info.Size() == 0 {
		// We never leave one: whoever made it may want to look, and memcached does not start then either.
		return nil, errors.Join(fmt.Errorf("metadata file %s is empty: remove it to start cold", b.meta), b.file.Close())
	}
	return b, nil
}

// BackingDescriptor takes over an inherited descriptor of a memfd or another file.
func BackingDescriptor(fd int) (*Backing, error) {
	name := "/proc/self/fd/" + strconv.Itoa(fd)
	// A description of its own, because a lock belongs to one, and whoever handed the descriptor over may
	// keep the other.
	own, err := unix.Open(name, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		if own, err = unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 3); err != nil {
			return nil, fmt.Errorf("take over descriptor %d: %w", fd, err)
		}
	}
	b := &Backing{file: os.NewFile(uintptr(own), name)}
	if err := b.claim(); err != nil {
		return nil, errors.Join(err, b.file.Close())
	}
	if err := unix.Close(fd); err != nil {
		return nil, errors.Join(fmt.Errorf("close descriptor %d: %w", fd, err), b.file.Close())
	}
	return b, nil
}

// claim makes sure that nobody else may read or write the file, and that no other process serves from it.
func (b *Backing) claim() error {
	fd := int(b.file.Fd())
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return fmt.Errorf("look at arena %s: %w", b.file.Name(), err)
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return fmt.Errorf("arena %s is no regular file", b.file.Name())
	}
	if err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return fmt.Errorf("arena %s is in use by another process: %w", b.file.Name(), err)
	}
	if st.Mode&0o077 != 0 {
		if err := unix.Fchmod(fd, 0o600); err != nil {
			return fmt.Errorf("keep arena %s to its owner: %w", b.file.Name(), err)
		}
	}
	// Where the kernel offers it (a memfd), nobody may cut the file short while it is mapped.
	_, _ = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK)
	return nil
}

// Close gives up a backing that no engine was opened with.
func (b *Backing) Close() error {
	if err := b.file.Close(); err != nil {
		return fmt.Errorf("close arena: %w", err)
	}
	return nil
}

func (b *Backing) size() (int64, error) {
	info, err := b.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("look at arena: %w", err)
	}
	return info.Size(), nil
}

// cut takes away all that stands at or behind an offset. A file that may not shrink gives the memory back.
func (b *Backing) cut(at int64) error {
	err := unix.Ftruncate(int(b.file.Fd()), at)
	if err == nil {
		return nil
	}
	size, sizeErr := b.size()
	if sizeErr != nil {
		return sizeErr
	}
	if size > at {
		err = b.punch(at, size-at)
	}
	if err != nil {
		return fmt.Errorf("cut arena: %w", err)
	}
	return nil
}

// reserve makes the kernel set memory aside, so that touching it cannot fail.
func (b *Backing) reserve(off, n int64) error {
	if err := retry(func() error { return unix.Fallocate(int(b.file.Fd()), 0, off, n) }); err != nil {
		return fmt.Errorf("reserve %d bytes of the arena: %w", n, err)
	}
	return nil
}

// punch gives memory back. It reads as zeros afterwards, and must be reserved anew.
func (b *Backing) punch(off, n int64) error {
	const mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	if err := retry(func() error { return unix.Fallocate(int(b.file.Fd()), mode, off, n) }); err != nil {
		return fmt.Errorf("give %d bytes of the arena back: %w", n, err)
	}
	return nil
}

// retry calls f again while signals interrupt it.
func retry(f func() error) error {
	for {
		if err := f(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
