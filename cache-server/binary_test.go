// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/lane"
)

func TestHelpAndVersion(t *testing.T) {
	for _, args := range [][]string{{"-h"}, {"--help"}, {"-vh"}} {
		code, stdout, stderr := runBinary(t, nil, args...)
		for _, flag := range []string{"-l,", "-p,", "-s,", "-m,", "-c,", "-t,", "-I,", "-v,", "-V,", "-h,", "--expose"} {
			if !strings.Contains(stdout, flag) {
				t.Errorf("%v does not tell of %s", args, flag)
			}
		}
		if code != 0 || stderr != "" {
			t.Errorf("%v: exit code %d, stderr %q", args, code, stderr)
		}
	}
	code, stdout, _ := runBinary(t, nil, "-V")
	if code != 0 || !strings.Contains(stdout, "memcached 1.6.45") {
		t.Errorf("-V: exit code %d, %q", code, stdout)
	}
	code, stdout, _ = runBinary(t, nil, "fleet", "--help")
	if code != 0 || !strings.Contains(stdout, "POD_IPS") || !strings.Contains(stdout, "--memory-bytes") {
		t.Errorf("fleet --help: exit code %d, %q", code, stdout)
	}
}

func TestRefusals(t *testing.T) {
	const memory = "--memory-bytes=67108864"
	for _, c := range []struct {
		name string
		env  string
		args []string
		want string // a part of the reason
	}{
		{"a wildcard", "", []string{"-l", "0.0.0.0"}, "a wildcard"},
		{"every address", "", []string{"-l", "*"}, "a wildcard"},
		{"the wildcard of IPv6", "", []string{"-l", "::"}, "a wildcard"},
		{"a wildcard in brackets", "", []string{"-l", "[::]:11211"}, "a wildcard"},
		{"a wildcard in IPv6's clothes", "", []string{"-l", "::ffff:0.0.0.0"}, "a wildcard"},
		{"a wildcard behind loopback", "", []string{"-l", "127.0.0.1,0.0.0.0"}, "a wildcard"},
		{"a public address", "", []string{"-l", "192.0.2.1"}, "a public address"},
		{"a public address of IPv6", "", []string{"-l", "2001:db8::1"}, "a public address"},
		{"metrics on a wildcard", "", []string{"--metrics", "0.0.0.0:9150"}, "a wildcard"},
		{"metrics without a port", "", []string{"--metrics", "127.0.0.1"}, "--metrics"},
		{"authentication for the binary protocol", "", []string{"-S"}, "no authentication"},
		{"a file of users", "", []string{"-Y", "/dev/null"}, "no authentication"},
		{"TLS", "", []string{"-Z"}, "no TLS"},
		{"an option for TLS", "", []string{"-o", "ssl_min_version=3"}, "no TLS"},
		{"external storage", "", []string{"-o", "modern,ext_path=/tmp/x:64m"}, "no external storage"},
		{"a proxy", "", []string{"-o", "proxy_config=x"}, "no proxy"},
		{"a filter on system calls", "", []string{"-o", "drop_privileges"}, "no filter"},
		{"an unknown option", "", []string{"-o", "nonsense"}, "no such option"},
		{"an option without its number", "", []string{"-o", "idle_timeout"}, "idle_timeout"},
		{"an option out of bounds", "", []string{"-o", "hot_lru_pct=90"}, "hot_lru_pct"},
		{"a protocol that is none", "", []string{"-B", "http"}, "-B"},
		{"access that is no octal number", "", []string{"-a", "999"}, "-a"},
		{"a long delimiter", "", []string{"-D", "::"}, "-D"},
		{"no requests at all", "", []string{"-R", "0"}, "-R"},
		{"a growth that is none", "", []string{"-f", "1"}, "-f"},
		{"an unknown flag", "", []string{"--nonsense"}, "nonsense"},
		{"an argument", "", []string{"nonsense"}, "nonsense"},
		{"port 0", "", []string{"-p", "0"}, "-p"},
		{"port 65536", "", []string{"-p", "65536"}, "-p"},
		{"no memory", "", []string{"-m", "0"}, "-m"},
		{"no connections", "", []string{"-c", "0"}, "-c"},
		{"no threads", "", []string{"-t", "0"}, "-t"},
		{"items too small", "", []string{"-I", "10"}, "-I"},
		{"items larger than half the memory", "", []string{"-m", "64", "-I", "33m"}, "-I"},
		{"a size that is none", "", []string{"-I", "big"}, "-I"},
		{"a fleet without addresses", "", []string{"fleet", memory}, "POD_IPS is empty"},
		{"a fleet with a blank address", " ", []string{"fleet", memory}, "POD_IPS is empty"},
		{"a fleet on loopback", "127.0.0.1", []string{"fleet", memory}, "loopback"},
		{"a fleet on loopback of IPv6", "::1", []string{"fleet", memory}, "loopback"},
		{"a fleet on loopback in IPv6's clothes", "::ffff:127.0.0.1", []string{"fleet", memory}, "loopback"},
		{"a fleet on a wildcard", "0.0.0.0", []string{"fleet", memory}, "wildcard"},
		{"a fleet on the wildcard of IPv6", "::", []string{"fleet", memory}, "wildcard"},
		{"a fleet with a second address that is loopback", "10.0.0.1,127.0.0.1", []string{"fleet", memory}, "loopback"},
		{"a fleet on a name", "localhost", []string{"fleet", memory}, "no IP address"},
		{"a fleet on an address with a port", "10.0.0.1:11211", []string{"fleet", memory}, "no IP address"},
		{"a fleet with an empty second address", "10.0.0.1,", []string{"fleet", memory}, "no IP address"},
		{"a fleet on one address twice", "10.0.0.1,10.0.0.1", []string{"fleet", memory}, "twice"},
		{"a fleet on multicast", "224.0.0.1", []string{"fleet", memory}, "multicast"},
		{"a fleet on link-local", "169.254.1.1", []string{"fleet", memory}, "link-local"},
		{"a fleet without memory", "10.0.0.1", []string{"fleet"}, "--memory-bytes is missing"},
		{"a fleet with a gate that is nothing", "10.0.0.1", []string{"fleet", memory, "--gate=open"}, "--gate is \"open\": write closed"},
		{"a fleet with a gate without a word", "10.0.0.1", []string{"fleet", memory, "--gate="}, "--gate"},
		{"a fleet with peers that are nothing", "10.0.0.1", []string{"fleet", memory, "--peers=Verified"}, "write verified"},
		{"a fleet with peers without a word", "10.0.0.1", []string{"fleet", memory, "--peers="}, "--peers"},
		{"a fleet with little memory", "10.0.0.1", []string{"fleet", "--memory-bytes=1000"}, "--memory-bytes"},
		{"a fleet with negative memory", "10.0.0.1", []string{"fleet", "--memory-bytes=-5"}, "--memory-bytes"},
		{"a fleet with large items", "10.0.0.1", []string{"fleet", memory, "--max-item-size=40000000"}, "--max-item-size"},
		{"a fleet without connections", "10.0.0.1", []string{"fleet", memory, "--max-connections=0"}, "--max-connections"},
		{"a fleet with an unknown admin command", "10.0.0.1", []string{"fleet", memory, "--admin-commands=Shutdown"},
			"unknown admin command"},
		{"a fleet with an admin command twice", "10.0.0.1",
			[]string{"fleet", memory, "--admin-commands=FlushAll,FlushAll"}, "twice"},
		{"a fleet that is to be exposed", "10.0.0.1", []string{"fleet", memory, "--expose"}, "expose"},
		{"a fleet with an argument", "10.0.0.1", []string{"fleet", memory, "more"}, "more"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			code, _, stderr := runBinary(t, []string{"POD_IPS=" + c.env}, c.args...)
			if code != exitUsage || !strings.Contains(stderr, c.want) {
				t.Errorf("exit code %d, want %d; stderr %q, want it to say %q", code, exitUsage, stderr, c.want)
			}
		})
	}
}

func TestRootIsRefusedInAFleet(t *testing.T) {
	if os.Getuid() != 0 {
		lane.Lacks(t, "only root can try to be root")
	}
	code, _, stderr := runBinary(t, []string{"POD_IPS=10.0.0.1"}, "fleet", "--memory-bytes=67108864")
	if code != exitUsage || !strings.Contains(stderr, "refuse to run as root") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestAPortThatIsTakenFailsTheStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	code, _, stderr := runBinary(t, nil, "-l", l.Addr().String())
	if code != exitFailed || !strings.Contains(stderr, "address already in use") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
}

func TestAFileInTheSocketsPlaceIsKept(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := runBinary(t, nil, "-s", path)
	if code != exitFailed || !strings.Contains(stderr, "no socket") {
		t.Errorf("exit code %d, stderr %q", code, stderr)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "precious" {
		t.Errorf("the file now holds %q, %v", text, err)
	}
}

func TestMemcachedsFlags(t *testing.T) {
	port, second := freePort(t), freePort(t)
	startChild(t, nil, "-p", port, "-l", "127.0.0.1,127.0.0.1:"+second, "-m32", "-c", "10", "-t2", "-I", "512k",
		"-vv", "-U", "0")
	for _, addr := range []string{"127.0.0.1:" + port, "127.0.0.1:" + second} {
		conn := dialUntil(t, "tcp", addr)
		_, _ = io.WriteString(conn, "stats settings\r\nquit\r\n")
		got, _ := io.ReadAll(conn)
		for _, want := range []string{"maxbytes 33554432", "maxconns 10", "tcpport " + port, "udpport 0", "num_threads 2",
			"item_size_max 524288", "verbosity 2"} {
			if !strings.Contains(string(got), "STAT "+want+"\r\n") {
				t.Errorf("%s: %q is not among the settings", addr, want)
			}
		}
	}
}

func TestAUnixSocketIsItsOwnersAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache.sock")
	for range 2 { // the second start finds the first's socket
		p := startChild(t, nil, "-s", path)
		conn := dialUntil(t, "unix", path)
		exchange(t, conn, "set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n")
		if info, err := os.Stat(path); err != nil || info.Mode().Perm()&0o077 != 0 {
			t.Errorf("the socket has mode %v, %v", info.Mode(), err)
		}
		_ = p.Signal(syscall.SIGKILL)
		p.exited(t)
	}
}

func TestADrainAnswersWhatWasReadAndExits(t *testing.T) {
	for _, signal := range []os.Signal{syscall.SIGTERM, syscall.SIGINT} {
		port, monitor := freePort(t), freePort(t)
		p := startChild(t, nil, "-p", port, "--metrics", "127.0.0.1:"+monitor)
		idle, busy := dialUntil(t, "tcp", "127.0.0.1:"+port), dialUntil(t, "tcp", "127.0.0.1:"+port)
		exchange(t, idle, "version\r\n", "VERSION 1.6.45\r\n")
		exchange(t, busy, "version\r\nset k 0 0 5\r\nab", "VERSION 1.6.45\r\n")
		if got := httpGet(t, "127.0.0.1:"+monitor, "/readyz"); !strings.Contains(got, "200 OK") {
			t.Errorf("ready before: %q", got)
		}
		_ = p.Signal(signal)
		if got, err := io.ReadAll(idle); err != nil || len(got) > 0 {
			t.Errorf("the idle connection: %q, %v", got, err)
		}
		if got := httpGet(t, "127.0.0.1:"+monitor, "/readyz"); !strings.Contains(got, "503") {
			t.Errorf("ready while draining: %q", got)
		}
		if got := httpGet(t, "127.0.0.1:"+monitor, "/healthz"); !strings.Contains(got, "200 OK") {
			t.Errorf("alive while draining: %q", got)
		}
		if _, err := net.Dial("tcp", "127.0.0.1:"+port); err == nil {
			t.Error("it accepts while draining")
		}
		exchange(t, busy, "cde\r\n", "STORED\r\n")
		if code := p.exited(t); code != 0 {
			t.Errorf("%v: exit code %d\n%s", signal, code, p.Stderr())
		}
	}
}

func TestADrainIsBounded(t *testing.T) {
	port := freePort(t)
	p := startChild(t, nil, "-p", port, "--drain-timeout", "300ms")
	conn := dialUntil(t, "tcp", "127.0.0.1:"+port)
	exchange(t, conn, "version\r\nset k 0 0 5\r\nab", "VERSION 1.6.45\r\n")
	began := time.Now()
	_ = p.Signal(syscall.SIGTERM)
	if code := p.exited(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if took := time.Since(began); took < 300*time.Millisecond || took > 3*time.Second {
		t.Errorf("it took %v", took)
	}
}

func TestStartTime(t *testing.T) {
	best := time.Hour
	for range 5 {
		port := freePort(t)
		began := time.Now()
		startChild(t, nil, "-p", port)
		exchange(t, dialUntil(t, "tcp", "127.0.0.1:"+port), "version\r\n", "VERSION 1.6.45\r\n")
		best = min(best, time.Since(began))
	}
	t.Logf("from exec to the first answer: %v at best", best.Round(100*time.Microsecond))
}
