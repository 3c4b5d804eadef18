// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build memory

package memory

import (
	"context"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/controllers/resources"
	"github.com/memkeep/memkeep/test/process"
)

const mi = 1 << 20

// binary is the path of the built cache server.
var binary string

func TestMain(m *testing.M) {
	os.Exit(process.Main(m, &binary))
}

// size is what a pod is asked for.
type size struct {
	memory      int64
	itemSize    int64
	connections int32
	args        []string
}

// pod is a cache server in a cgroup with a pod's limit.
type pod struct {
	*group
	limit  int64
	addr   string
	server *process.Process
}

// start runs a pod until the test's end.
func start(t *testing.T, s size) *pod {
	t.Helper()
	limit := resources.PodMemory(s.memory, s.itemSize, s.connections)
	p := &pod{group: newGroup(t, limit), limit: limit}
	p.run(t, s)
	return p
}

// run starts the server in the group. The shell enters the group before it becomes the server.
func (p *pod) run(t *testing.T, s size) {
	t.Helper()
	p.addr = process.MustFreeAddress(t)
	_, port, err := net.SplitHostPort(p.addr)
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, p.dir, binary, "-p", port,
		"-m", strconv.FormatInt(s.memory/mi, 10), "-I", strconv.FormatInt(s.itemSize, 10),
		"-c", strconv.Itoa(int(s.connections))}, s.args...)
	p.server = process.MustStart(t, exec.Command("/bin/sh", args...))
	if err := p.server.Await(t.Context(), p.addr); err != nil {
		t.Fatal(err)
	}
}

// stop ends the server gracefully.
func (p *pod) stop(t *testing.T) {
	t.Helper()
	if err := p.server.Stop(20 * time.Second); err != nil {
		t.Fatal(err)
	}
}

// ask sends a line on a new connection and returns the first line of the answer.
func (p *pod) ask(t *testing.T, line string, patience time.Duration) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		answer, err := process.Ask(ctx, p.addr, line+"\r\n", "\r\n")
		if err == nil && !strings.HasPrefix(answer, "ERROR Too many") {
			return strings.TrimSpace(answer)
		}
		select {
		case <-ctx.Done():
			t.Fatalf("no answer to %q but %q: %v", line, answer, err)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// survived checks that the pod was never in need, and tells how near it came.
func (p *pod) survived(t *testing.T) {
	t.Helper()
	select {
	case <-p.server.Ended():
		t.Fatalf("the server has ended: %v", p.server.State())
	default:
	}
	p.ask(t, "version", 10*time.Second)
	total, tcp := p.peak()
	met, killed := p.pressed()
	t.Logf("limit %d MiB, peak %d MiB, and TCP's buffers %d MiB at their peak where they are counted apart (cgroup v%d)",
		p.limit/mi, total/mi, tcp/mi, p.version)
	if met != 0 || killed != 0 {
		t.Errorf("the limit was met %d times, %d processes were killed", met, killed)
	}
	if total <= 0 || total >= p.limit {
		t.Errorf("the peak of %d bytes is not below the limit of %d", total, p.limit)
	}
	// The two peaks need not be of one moment, so their sum may say a little too much.
	if most := p.limit + p.limit/16; total+tcp >= most {
		t.Errorf("the peak of %d bytes and %d of TCP's buffers are not below %d", total, tcp, most)
	}
}
