// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"
)

// Main builds the cache server, notes where it is, and runs a package's tests: for TestMain. It returns the exit code.
func Main(m *testing.M, binary *string) int {
	dir, err := os.MkdirTemp("", "memkeep-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if *binary, err = Build(context.Background(), dir); err == nil {
		err = os.Chmod(dir, 0o755) // another user runs it as well
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// MustMemcached is the path of the memcached to compare with. There is no test without it.
func MustMemcached(t testing.TB) string {
	t.Helper()
	path, err := Memcached()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// MustFreeAddress is an address of loopback that nobody listens on.
func MustFreeAddress(t testing.TB) string {
	t.Helper()
	addr, err := FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// MustStart runs a command until the test ends.
func MustStart(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p, err := Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	p.endWith(t)
	return p
}

// MustServe runs a cache server or a memcached on an address until the test ends.
func MustServe(t testing.TB, path, addr string, flags ...string) *Server {
	t.Helper()
	s, err := Serve(context.Background(), path, addr, flags...)
	if err != nil {
		t.Fatal(err)
	}
	s.endWith(t)
	return s
}

// endWith kills the process at the test's end, and lets it speak where the test has failed.
func (p *Process) endWith(t testing.TB) {
	t.Helper()
	t.Cleanup(func() {
		p.Kill()
		if said := p.Stderr(); t.Failed() && said != "" {
			t.Logf("%s has said:\n%s", p.cmd.Path, said)
		}
	})
}
