// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/test/lane"
	"github.com/memkeep/memkeep/test/process"
)

// memoryFile is a path for an arena, on tmpfs where there is one.
func memoryFile(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "memkeep-test-") //nolint:usetesting // a disk would be slow
	if err != nil {
		dir = t.TempDir()
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "arena")
}

// startOn runs the binary with an arena until the test ends, and connects to it.
func startOn(t *testing.T, program string, extra *os.File, args ...string) (*child, net.Conn) {
	t.Helper()
	port := freePort(t)
	cmd := exec.Command(program, append([]string{"-p", port}, args...)...)
	if extra != nil {
		cmd.ExtraFiles = []*os.File{extra}
	}
	return &child{process.MustStart(t, cmd)}, dialUntil(t, "tcp", net.JoinHostPort("127.0.0.1", port))
}

// fill stores n items of different sizes.
func fill(t *testing.T, conn net.Conn, n int) {
	t.Helper()
	w := bufio.NewWriter(conn)
	for i := range n {
		value := strings.Repeat("v", i%200) + fmt.Sprint(i)
		_, _ = fmt.Fprintf(w, "set key-%d %d 0 %d noreply\r\n%s\r\n", i, i, len(value), value)
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	exchange(t, conn, "version\r\n", "VERSION 1.6.45\r\n")
}

// check reads n items back.
func check(t *testing.T, conn net.Conn, n int) {
	t.Helper()
	go func() {
		w := bufio.NewWriter(conn)
		for i := range n {
			_, _ = fmt.Fprintf(w, "get key-%d\r\n", i)
		}
		_ = w.Flush()
	}()
	r := bufio.NewReader(conn)
	for i := range n {
		value := strings.Repeat("v", i%200) + fmt.Sprint(i)
		want := fmt.Sprintf("VALUE key-%d %d %d\r\n%s\r\nEND\r\n", i, i, len(value), value)
		got := make([]byte, len(want))
		if _, err := io.ReadFull(r, got); err != nil || string(got) != want {
			t.Fatalf("item %d: got %q, %v, want %q", i, got, err, want)
		}
	}
}

func TestItemsOutliveAGracefulStop(t *testing.T) {
	const items = 100_000
	for _, row := range []struct {
		name   string
		signal syscall.Signal
		again  []string
	}{
		{"SIGUSR1", syscall.SIGUSR1, nil},
		{"SIGTERM", syscall.SIGTERM, nil},
		{"SIGINT", syscall.SIGINT, nil},
		{"more memory the next time", syscall.SIGTERM, []string{"-m", "128"}},
		{"other threads and connections the next time", syscall.SIGTERM, []string{"-t", "1", "-c", "10"}},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := memoryFile(t)
			p, conn := startOn(t, binary, nil, "-m", "64", "-e", path)
			p.said(t, "Started cold")
			fill(t, conn, items)
			p.stop(t, row.signal)
			if _, err := os.Stat(path + ".meta"); err != nil {
				t.Error(err)
			}
			p, conn = startOn(t, binary, nil, append([]string{"-m", "64", "-e", path}, row.again...)...)
			p.said(t, "msg=Reattached")
			p.said(t, fmt.Sprintf("items=%d", items))
			check(t, conn, items)
			exchange(t, conn, "set new 0 0 1\r\nx\r\nget new\r\n", "STORED\r\nVALUE new 0 1\r\nx\r\nEND\r\n")
		})
	}
}

func TestOtherCircumstancesStartCold(t *testing.T) {
	for _, row := range []struct {
		name   string
		signal syscall.Signal
		change func(t *testing.T, path string)
		again  []string
		reason string
	}{
		{"a crash", syscall.SIGKILL, nil, nil, "not sealed"},
		{"another largest item", syscall.SIGUSR1, nil, []string{"-I", "2m"}, "largest item"},
		{"a budget out of reach", syscall.SIGUSR1, nil, []string{"-m", "2048"}, "out of the arena's reach"},
		{"no metadata file", syscall.SIGUSR1, func(t *testing.T, path string) {
			if err := os.Remove(path + ".meta"); err != nil {
				t.Fatal(err)
			}
		}, nil, "no metadata file"},
		{"a file cut short", syscall.SIGUSR1, func(t *testing.T, path string) {
			if err := os.Truncate(path, 1<<20); err != nil {
				t.Fatal(err)
			}
		}, nil, "the seal says"},
	} {
		t.Run(row.name, func(t *testing.T) {
			path := memoryFile(t)
			p, conn := startOn(t, binary, nil, "-m", "64", "-e", path)
			fill(t, conn, 1000)
			p.stop(t, row.signal)
			if row.change != nil {
				row.change(t, path)
			}
			p, conn = startOn(t, binary, nil, append([]string{"-m", "64", "-e", path}, row.again...)...)
			p.said(t, "Started cold")
			p.said(t, row.reason)
			exchange(t, conn, "get key-1\r\nset new 0 0 1\r\nx\r\n", "END\r\nSTORED\r\n")
		})
	}
}

// TestAnotherReleaseGoesOn builds the command with another version, as an update of the image does.
func TestAnotherReleaseGoesOn(t *testing.T) {
	newer, err := process.Build(t.Context(), t.TempDir(), "-ldflags", "-X main.version=v9.9.9")
	if err != nil {
		t.Fatal(err)
	}
	path := memoryFile(t)
	p, conn := startOn(t, binary, nil, "-e", path)
	fill(t, conn, 1000)
	p.stop(t, syscall.SIGTERM)
	p, conn = startOn(t, newer, nil, "-e", path)
	p.said(t, "Reattached")
	p.said(t, "v9.9.9")
	check(t, conn, 1000)
}

func TestItemsOutliveTheProcessInADescriptor(t *testing.T) {
	fd, err := unix.MemfdCreate("arena", unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		lane.Lacks(t, "no memfd: %v", err)
	}
	file := os.NewFile(uintptr(fd), "arena")
	t.Cleanup(func() { _ = file.Close() })
	p, conn := startOn(t, binary, file, "--memory-fd", "3")
	fill(t, conn, 1000)
	p.stop(t, syscall.SIGTERM)
	p, conn = startOn(t, binary, file, "--memory-fd", "3")
	p.said(t, "Reattached")
	check(t, conn, 1000)
	p.stop(t, syscall.SIGKILL)
	p, _ = startOn(t, binary, file, "--memory-fd", "3")
	p.said(t, "not sealed")
}

// TestAStartThatFailsKeepsTheItems has a port that is taken.
func TestAStartThatFailsKeepsTheItems(t *testing.T) {
	path := memoryFile(t)
	p, conn := startOn(t, binary, nil, "-e", path)
	fill(t, conn, 1000)
	p.stop(t, syscall.SIGTERM)
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	if code, _, stderr := runBinary(t, nil, "-e", path, "-p", port); code != exitFailed {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	p, conn = startOn(t, binary, nil, "-e", path)
	p.said(t, "Reattached")
	check(t, conn, 1000)
}

func TestAnArenaIsOneProcesss(t *testing.T) {
	path := memoryFile(t)
	_, conn := startOn(t, binary, nil, "-e", path)
	code, _, stderr := runBinary(t, nil, "-e", path, "-p", freePort(t))
	if code != exitFailed || !strings.Contains(stderr, "in use by another process") {
		t.Errorf("a second process: exit code %d: %s", code, stderr)
	}
	fill(t, conn, 1000)
	check(t, conn, 1000)
	exchange(t, conn, "stats settings\r\n", "STAT maxbytes 67108864\r\n")
}

func TestAnEmptyMetadataFileStopsTheStart(t *testing.T) {
	path := memoryFile(t)
	if err := os.WriteFile(path+".meta", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runBinary(t, nil, "-e", path, "-p", freePort(t))
	if code != exitFailed || !strings.Contains(stderr, "is empty") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}
