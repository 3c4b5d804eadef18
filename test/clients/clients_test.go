// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build clients

package clients

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/lane"
	"github.com/memkeep/memkeep/test/process"
)

// notThere is how hack/client.sh says that a client could not be had.
const notThere = 77

// everyStep is what a client does unless it is said that it cannot.
var everyStep = []string{"set and get", "add", "replace", "append and prepend", "cas", "incr and decr", "touch",
	"delete", "many keys", "flags", "large value", "any bytes", "expiry"}

// scripted are the clients that have a script.
var scripted = []struct {
	name      string
	language  string
	script    string
	protocols []string
	lacks     []string // steps that the client has no call for
	has       []string // steps beyond everyStep
}{
	{"pymemcache, Python", "python", "pymemcache_client.py", []string{"text"}, nil, []string{"no reply", "version", "stats"}},
	{"pylibmc on libmemcached, Python", "python", "pylibmc_client.py", []string{"text", "binary"}, nil, []string{"stats"}},
	{"Cache::Memcached, Perl", "perl", "cache-memcached.pl", []string{"text"}, []string{"cas", "touch"}, []string{"stats"}},
	{"Cache::Memcached::Fast, Perl", "perl", "cache-memcached-fast.pl", []string{"text"}, nil,
		[]string{"gat", "no reply", "version"}},
	{"dalli, Ruby", "ruby", "dalli.rb", []string{"binary", "meta"}, nil, []string{"gat", "version", "stats"}},
	{"php-memcached on libmemcached, PHP", "php", "memcached.php", []string{"text", "binary"}, nil,
		[]string{"no reply", "version", "stats"}},
	{"memjs, Node.js", "node", "memjs.js", []string{"binary"}, []string{"append and prepend", "cas", "flags"},
		[]string{"append", "stats"}},
	{"memcached, Node.js", "node", "memcached.js", []string{"text"}, nil, []string{"version", "stats"}},
}

// ours is the path of the cache server.
var ours string

func TestMain(m *testing.M) {
	os.Exit(process.Main(m, &ours))
}

// startServer runs a server until the test ends and returns its address.
func startServer(t *testing.T, addr, binary string, flags ...string) string {
	t.Helper()
	return process.MustServe(t, binary, addr, append([]string{"-m", "256"}, flags...)...).Addr
}

// TestClients runs every client against both servers. All at once: most of what they do is to wait for an expiry.
func TestClients(t *testing.T) {
	servers := []struct{ name, addr string }{
		{"memcached", startServer(t, process.MustFreeAddress(t), process.MustMemcached(t))},
		{"memkeep", startServer(t, process.MustFreeAddress(t), ours)},
	}
	for _, c := range scripted {
		for _, protocol := range c.protocols {
			for _, server := range servers {
				t.Run(fmt.Sprintf("%s, speaks %s with %s", c.name, protocol, server.name), func(t *testing.T) {
					t.Parallel()
					want := slices.DeleteFunc(slices.Concat(everyStep, c.has), func(step string) bool {
						return slices.Contains(c.lacks, step)
					})
					steps := runScript(t, c.language, c.script, server.addr, protocol,
						fmt.Sprintf("%s-%s-", c.script, protocol), func(string) {})
					for _, step := range want {
						if !slices.Contains(steps, step) {
							t.Errorf("it has not done %q, but %q", step, steps)
						}
					}
				})
			}
		}
	}
	for _, server := range servers {
		t.Run("gomemcache, Go, speaks text with "+server.name, func(t *testing.T) {
			t.Parallel()
			useGomemcache(t, server.addr)
		})
	}
}

// runScript runs a client and returns the steps that it has done. It calls onStep after each.
func runScript(t *testing.T, language, script, addr, protocol, prefix string, onStep func(string)) (steps []string) {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "../../hack/client.sh", language, filepath.Join("scripts", script),
		host, port, protocol, prefix)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if step, ok := strings.CutPrefix(lines.Text(), "step "); ok {
			steps = append(steps, step)
			onStep(step)
		}
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == notThere {
		lane.Lacks(t, "the clients of %s could not be had:\n%s", language, stderr.String())
	}
	if err != nil {
		t.Fatalf("%v after the steps %q:\n%s", err, steps, stderr.String())
	}
	return steps
}
