// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

func TestMemoryOfAFileIsGivenBack(t *testing.T) {
	path := arenaPath(t)
	e, _ := fileEngine(t, path, Config{MaxBytes: 64 << 20, MaxItemSize: 1 << 20})
	blocks := func() int64 {
		var st unix.Stat_t
		if err := unix.Stat(path, &st); err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	for i := range 400_000 {
		e.Apply(&Mutation{Verb: Set, Key: fmt.Appendf(nil, "key-%d", i), Value: make([]byte, 150)})
	}
	if n := blocks(); n < 56<<20 || n > 64<<20 {
		t.Errorf("full, the file holds %d bytes", n)
	}
	if err := e.SetBudget(8 << 20); err != nil {
		t.Fatal(err)
	}
	e.keeper.stop()
	for e.maintain() {
	}
	if n := blocks(); n > 8<<20 || n != e.Stats().MappedBytes {
		t.Errorf("after the budget fell the file holds %d bytes, counted are %d", n, e.Stats().MappedBytes)
	}
	e.staysWithin(t)
	sealed(t, e)
	if n := blocks(); n > 8<<20+1<<16 {
		t.Errorf("sealed, the file holds %d bytes", n)
	}
}

// TestAFullFileSystemIsAFullCache has a file system with less room than the budget. Touching memory that it
// cannot give would kill the process.
func TestAFullFileSystemIsAFullCache(t *testing.T) {
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		t.Skipf("cannot mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	path := filepath.Join(dir, "arena")
	cfg := Config{MaxBytes: 64 << 20, MaxItemSize: 1 << 20}
	e, _ := fileEngine(t, path, cfg)
	value := make([]byte, 1<<20-200)
	for i := range 200_000 {
		size := 150
		if i%1000 == 0 {
			size = len(value)
		}
		m := Mutation{Verb: Set, Key: fmt.Appendf(nil, "key-%d", i), Value: value[:size]}
		if res := e.Apply(&m); res.Outcome != Stored {
			t.Fatalf("item %d: %v", i, res.Outcome)
		}
	}
	if s := e.Stats(); s.Evictions == 0 || s.MappedBytes > 8<<20 {
		t.Errorf("got %+v", s)
	}
	e.keeper.stop()
	if err := e.check(); err != nil && !strings.Contains(err.Error(), "overdrawn") {
		t.Error(err)
	}
	// There may be no room left for the seal either: then the next start is cold, and nothing breaks.
	sealErr := e.Seal(context.Background())
	e, report := fileEngine(t, path, cfg)
	if report.Warm != (sealErr == nil) {
		t.Errorf("seal: %v, then %+v", sealErr, report)
	}
	if res := e.Apply(&Mutation{Verb: Set, Key: []byte("k"), Value: []byte("v")}); res.Outcome != Stored {
		t.Errorf("got %v", res.Outcome)
	}
}

func TestAnArenaIsOneProcesssAndItsOwners(t *testing.T) {
	path := arenaPath(t)
	if err := os.WriteFile(path, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	b, err := BackingFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v", info.Mode())
	}
	if _, err := BackingFile(path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a second user: %v", err)
	}
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path+".meta", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := BackingFile(path); err == nil || !strings.Contains(err.Error(), "is empty") {
		t.Errorf("an empty metadata file: %v", err)
	}
	if err := os.Symlink(path, path+"-link"); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{path + "-link", filepath.Dir(path), "/dev/null"} {
		if _, err := BackingFile(p); err == nil {
			t.Errorf("%s was taken", p)
		}
	}
	if _, err := BackingDescriptor(987); err == nil {
		t.Error("a descriptor that is not open was taken")
	}
}
