// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/memkeep/memkeep/controllers/resources"
)

const mi = 1 << 20

// binary is the path of the built cache server.
var binary string

func TestMain(m *testing.M) {
	os.Exit(buildAndRun(m))
}

func buildAndRun(m *testing.M) int {
	if os.Getenv("MEMKEEP_TEST_MEMORY") == "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "memkeep-memory-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	binary = filepath.Join(dir, "cache-server")
	build := exec.Command("go", "build", "-o", binary, "../../cache-server")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build the cache server: %v\n%s", err, out)
		return 1
	}
	return m.Run()
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
	cmd    *exec.Cmd
	done   chan struct{}
	stderr *buffer
}

type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// start runs a pod until the test's end.
func start(t *testing.T, s size) *pod {
	t.Helper()
	if os.Getenv("MEMKEEP_TEST_MEMORY") == "" {
		t.Skip("a lane of its own: make test-memory")
	}
	limit := resources.PodMemory(s.memory, s.itemSize, s.connections)
	p := &pod{group: newGroup(t, limit), limit: limit}
	p.run(t, s)
	return p
}

// run starts the server in the group. The shell enters the group before it becomes the server.
func (p *pod) run(t *testing.T, s size) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.addr = l.Addr().String()
	_, port, _ := net.SplitHostPort(p.addr)
	_ = l.Close()
	args := append([]string{"-c", `echo $$ > "$0/cgroup.procs" && exec "$@"`, p.dir, binary, "-p", port,
		"-m", strconv.FormatInt(s.memory/mi, 10), "-I", strconv.FormatInt(s.itemSize, 10),
		"-c", strconv.Itoa(int(s.connections))}, s.args...)
	p.cmd, p.done, p.stderr = exec.Command("/bin/sh", args...), make(chan struct{}), new(buffer)
	p.cmd.Stderr = p.stderr
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, done := p.cmd, p.done
	go func() {
		_ = cmd.Wait()
		close(done)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		<-done
	})
	p.ask(t, "version", 10*time.Second)
}

// stop ends the server gracefully.
func (p *pod) stop(t *testing.T) {
	t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(20 * time.Second):
		t.Fatalf("it does not stop:\n%s", p.stderr)
	}
}

// ask sends a line on a new connection and returns the first line of the answer.
func (p *pod) ask(t *testing.T, line string, patience time.Duration) string {
	t.Helper()
	var last error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		conn, err := net.DialTimeout("tcp", p.addr, patience)
		if err != nil {
			last = err
			continue
		}
		_ = conn.SetDeadline(deadline)
		_, err = io.WriteString(conn, line+"\r\n")
		answer, readErr := bufio.NewReader(conn).ReadString('\n')
		_ = conn.Close()
		if err == nil && readErr == nil && !strings.HasPrefix(answer, "ERROR Too many") {
			return strings.TrimSpace(answer)
		}
		last = readErr
	}
	t.Fatalf("no answer to %q: %v\n%s", line, last, p.stderr)
	return ""
}

// survived checks that the pod was never in need, and tells how near it came.
func (p *pod) survived(t *testing.T) {
	t.Helper()
	select {
	case <-p.done:
		t.Fatalf("the server has ended: %v\n%s", p.cmd.ProcessState, p.stderr)
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
