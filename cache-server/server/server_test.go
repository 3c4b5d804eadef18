// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/bradfitz/gomemcache/memcache"
)

func TestConversations(t *testing.T) {
	for _, c := range []struct{ name, request, want string }{
		{"what is set is read back", "set k 5 0 3\r\nabc\r\nget k\r\n", "STORED\r\nVALUE k 5 3\r\nabc\r\nEND\r\n"},
		{"many keys are read at once", "set a 0 0 1\r\n1\r\nset b 0 0 1\r\n2\r\nget a none b\r\n",
			"STORED\r\nSTORED\r\nVALUE a 0 1\r\n1\r\nVALUE b 0 1\r\n2\r\nEND\r\n"},
		{"noreply is silent", "set k 0 0 1 noreply\r\nx\r\ndelete none noreply\r\nget k\r\n", "VALUE k 0 1\r\nx\r\nEND\r\n"},
		{"a wrong end of data is an error and the line goes on", "set k 0 0 1\r\nxyz\r\n",
			"CLIENT_ERROR bad data chunk\r\nCLIENT_ERROR bad command line format\r\n"},
		{"quit answers what came before it", "version\r\nquit\r\nversion\r\n", "VERSION 1.6.45\r\n"},
		{"shutdown is not enabled unless asked for", "shutdown\r\n", "SERVER_ERROR: shutdown not enabled\r\n"},
		{"a gat with a long key touches the keys before it", "set k 0 0 1\r\nx\r\ngat -1 k " + strings.Repeat("l", 251) +
			"\r\nget k\r\n", "STORED\r\nCLIENT_ERROR bad command line format\r\nEND\r\n"},
		{"cache_memlimit has memcached's words", "cache_memlimit 7\r\ncache_memlimit 2000000000\r\ncache_memlimit 32\r\n",
			"MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n" +
				"MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\nOK\r\n"},
		{"HTTP is closed and nothing after its line is executed",
			"version\r\nPOST / HTTP/1.1\r\nset k 0 0 1\r\nx\r\n", "VERSION 1.6.45\r\n"},
		{"an unfinished HTTP line is closed", "GET /aaa", ""},
		{"HTTP whose method is a command of ours is closed as well", "get / HTTP/1.1\r\nset k 0 0 1\r\nx\r\n", ""},
		{"HTTP whose method is a meta command of ours is closed as well", "mn / HTTP/1.1\r\nset k 0 0 1\r\nx\r\n", ""},
		{"HTTP after an empty line is closed", "\r\nDELETE / HTTP/1.1\r\nset k 0 0 1\r\nx\r\n",
			"CLIENT_ERROR bad command line format\r\n"},
		{"a header of HTTP is closed", "version\r\nHost: a\r\nset k 0 0 1\r\nx\r\n", "VERSION 1.6.45\r\n"},
		{"a key may look like HTTP after the first line", "version\r\nget / HTTP/1.1\r\n", "VERSION 1.6.45\r\nEND\r\n"},
		{"TLS on the plain port is closed", "\x16\x03\x01\x02\x00\x01\r\nset k 0 0 1\r\nx\r\n", ""},
		{"the preface of HTTP/2 is closed", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nversion\r\n", ""},
		{"a PROXY header is closed", "PROXY TCP4 10.0.0.1 10.0.0.2 1 2\r\nversion\r\n", ""},
		{"a binary PROXY header is closed", "\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0cversion\r\n", ""},
		{"SSH is closed", "SSH-2.0-OpenSSH_9.2\r\nversion\r\n", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := start(t, nil).ask(t, c.request); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestAdminCommandsAreRefusedUnlessAllowed(t *testing.T) {
	requests := map[AdminCommand][2]string{
		AdminFlushAll:       {"flush_all\r\n", "CLIENT_ERROR flush_all not allowed\r\n"},
		AdminCacheMemlimit:  {"cache_memlimit 64\r\n", "CLIENT_ERROR cache_memlimit not allowed\r\n"},
		AdminVerbosity:      {"verbosity 1\r\n", "CLIENT_ERROR verbosity not allowed\r\n"},
		AdminStatsReset:     {"stats reset\r\n", "CLIENT_ERROR stats reset not allowed\r\n"},
		AdminStatsDetail:    {"stats detail on\r\n", "CLIENT_ERROR stats detail not allowed\r\n"},
		AdminStatsConns:     {"stats conns\r\n", "CLIENT_ERROR stats conns not allowed\r\n"},
		AdminStatsCachedump: {"stats cachedump 1 0\r\n", "CLIENT_ERROR stats cachedump not allowed\r\n"},
		AdminLRUCrawler:     {"lru_crawler metadump all\r\n", "CLIENT_ERROR lru crawler disabled\r\n"},
		AdminWatch:          {"watch\r\n", "CLIENT_ERROR watch commands not allowed\r\n"},
	}
	if len(requests) != len(AllAdminCommands) {
		t.Fatalf("%d admin commands are tried, there are %d", len(requests), len(AllAdminCommands))
	}
	refusing := start(t, func(cfg *Config) { cfg.AdminCommands = nil })
	for command, request := range requests {
		t.Run(string(command), func(t *testing.T) {
			if got := refusing.ask(t, request[0]); got != request[1] {
				t.Errorf("not allowed: got %q, want %q", got, request[1])
			}
			allowing := start(t, func(cfg *Config) { cfg.AdminCommands = []AdminCommand{command} })
			if got := allowing.ask(t, request[0]); got == request[1] || got == "" {
				t.Errorf("allowed: got %q", got)
			}
		})
	}
	got := refusing.ask(t, "set k 0 0 1\r\nx\r\nflush_all noreply\r\nget k\r\n")
	if got != "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n" {
		t.Errorf("a silent flush_all that is not allowed: got %q", got)
	}
	if got := refusing.ask(t, "stats\r\n"); !strings.HasSuffix(got, "END\r\n") {
		t.Errorf("plain stats are for everybody, got %q", got)
	}
}

func TestTheBudgetDoesNotRiseAboveItsMost(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.MaxBudget = 64 << 20 })
	if got := f.ask(t, "cache_memlimit 65\r\n"); !strings.HasPrefix(got, "MEMLIMIT_ADJUST_FAILED") {
		t.Errorf("got %q", got)
	}
	if got := f.ask(t, "cache_memlimit 32\r\ncache_memlimit 64\r\n"); got != "OK\r\nOK\r\n" {
		t.Errorf("got %q", got)
	}
}

func TestOneConnectionTooMany(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.MaxConnections = 2 })
	first, second := f.dial(t), f.dial(t)
	send(t, first, "version\r\n", "VERSION 1.6.45\r\n")
	send(t, second, "version\r\n", "VERSION 1.6.45\r\n")
	third := f.dial(t)
	got, err := io.ReadAll(third)
	if string(got) != "ERROR Too many open connections\r\n" {
		t.Errorf("got %q, %v", got, err)
	}
	if n := f.refusals[reasonTooMany].Load(); n != 1 {
		t.Errorf("%d refusals are counted, want 1", n)
	}
	_ = first.Close()
	eventually(t, "the place is free again", func() bool { return f.numConns() == 1 })
	send(t, f.dial(t), "version\r\n", "VERSION 1.6.45\r\n")
}

func TestOwnAddressIsRefused(t *testing.T) {
	f := start(t, func(cfg *Config) { cfg.RefuseOwnAddress = true })
	expectClosed(t, f.dial(t)) // loopback to loopback: both ends have one address
	eventually(t, "the refusal is counted", func() bool { return f.refusals[reasonOwnAddress].Load() == 1 })
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	conn, err := dialer.Dial("tcp", f.addr)
	if err != nil {
		t.Fatalf("dial from another address: %v", err)
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	send(t, conn, "version\r\n", "VERSION 1.6.45\r\n")
}

func TestNoKeyAndNoValueIsLogged(t *testing.T) {
	f := start(t, nil)
	f.ask(t, "verbosity 3\r\nset secretkey 0 0 11\r\nsecretvalue\r\nget secretkey\r\nset secretkey 0 0 2\r\nsecret\r\n"+
		"GET /secretpath HTTP/1.1\r\n")
	f.ask(t, "\x80secret")
	f.ask(t, strings.Repeat("secret", 500))
	eventually(t, "the close is logged", func() bool { return strings.Contains(f.log.String(), "line_too_long") })
	if strings.Contains(f.log.String(), "secret") {
		t.Errorf("the log tells secrets:\n%s", f.log.String())
	}
}

func TestAPanicClosesOneConnectionAlone(t *testing.T) {
	f := start(t, nil)
	client, inside := net.Pipe()
	c := newConn(f.Server, panicking{inside})
	f.running.Add(1)
	go c.serve()
	go func() { _, _ = io.WriteString(client, "version\r\n") }()
	expectClosed(t, client)
	eventually(t, "the panic is counted", func() bool { return f.closes[reasonPanic].Load() == 1 })
	send(t, f.dial(t), "version\r\n", "VERSION 1.6.45\r\n")
}

// panicking is a connection that panics when it is written to.
type panicking struct{ net.Conn }

func (panicking) Write([]byte) (int, error) { panic("out of order") }

func TestDrain(t *testing.T) {
	t.Run("idle connections are closed at once", func(t *testing.T) {
		f := start(t, nil)
		idle := f.dial(t)
		send(t, idle, "version\r\n", "VERSION 1.6.45\r\n")
		began := time.Now()
		drain(t, f, nil)
		expectClosed(t, idle)
		if took := time.Since(began); took > time.Second {
			t.Errorf("draining an idle server took %v", took)
		}
		if _, err := net.Dial("tcp", f.addr); err == nil {
			t.Error("it still accepts")
		}
	})
	t.Run("a request that has begun is finished and answered", func(t *testing.T) {
		f := start(t, nil)
		small, large := f.dial(t), f.dial(t)
		_, _ = io.WriteString(small, "version\r\nset k 0 0 5\r\nab")
		expect(t, small, "VERSION 1.6.45\r\n")
		value := strings.Repeat("v", 500_000)
		_, _ = io.WriteString(large, "set big 0 0 500000\r\n"+value[:100_000])
		eventually(t, "both have been read in part", func() bool { return f.transfer.used.Load() > 100_000 })
		drain(t, f, func() {
			send(t, small, "cde\r\n", "STORED\r\n")
			send(t, large, value[100_000:]+"\r\n", "STORED\r\n")
		})
	})
	t.Run("a request that never ends is cut off", func(t *testing.T) {
		f := start(t, nil)
		conn := f.dial(t)
		send(t, conn, "version\r\nset k 0 0 5\r\nab", "VERSION 1.6.45\r\n")
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if err := f.Drain(ctx); err == nil || !strings.Contains(err.Error(), "1 connections") {
			t.Errorf("got %v", err)
		}
	})
}

// drain drains while something else is done.
func drain(t *testing.T, f *fixture, meanwhile func()) {
	t.Helper()
	done := make(chan error, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	go func() { done <- f.Drain(ctx) }()
	if meanwhile != nil {
		time.Sleep(50 * time.Millisecond)
		meanwhile()
	}
	if err := <-done; err != nil {
		t.Errorf("drain: %v", err)
	}
}

func TestAcceptErrorsAreSurvived(t *testing.T) {
	f := start(t, nil)
	l := &faultyListener{fixture: f, errors: 3, closed: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- f.Serve(l) }()
	eventually(t, "the errors are counted", func() bool { return f.acceptErrs.Load() == 3 })
	drain(t, f, nil)
	if err := <-done; err != nil {
		t.Errorf("got %v", err)
	}
}

// faultyListener fails a few times, then waits until it is closed.
type faultyListener struct {
	*fixture
	errors int
	once   sync.Once
	closed chan struct{}
}

func (l *faultyListener) Accept() (net.Conn, error) {
	if l.errors > 0 {
		l.errors--
		return nil, fmt.Errorf("accept: too many open files")
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *faultyListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *faultyListener) Addr() net.Addr { return &net.TCPAddr{} }

func TestNewRefusesHalfAConfiguration(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("a server without an engine was made")
	}
	f := start(t, nil)
	log := slog.New(slog.DiscardHandler)
	for name, cfg := range map[string]Config{
		"no logger":      {Engine: f.engine, MaxConnections: 1, MaxItemSize: 1},
		"no connections": {Engine: f.engine, Logger: log, MaxItemSize: 1},
		"no item size":   {Engine: f.engine, Logger: log, MaxConnections: 1},
	} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%s: a server was made", name)
		}
	}
}

func TestAClientLibraryWorks(t *testing.T) {
	f := start(t, nil)
	client := memcache.New(f.addr)
	defer func() { _ = client.Close() }()
	if err := client.Ping(); err != nil {
		t.Fatalf("ping: %v", err)
	}
	value := []byte(strings.Repeat("v", 100_000))
	for i := range 20 {
		item := &memcache.Item{Key: fmt.Sprintf("k%d", i), Value: value[:i*5000], Flags: uint32(i), Expiration: 100}
		if err := client.Set(item); err != nil {
			t.Fatalf("set: %v", err)
		}
	}
	items, err := client.GetMulti([]string{"k0", "k3", "k19", "none"})
	if err != nil || len(items) != 3 || len(items["k19"].Value) != 95_000 || items["k3"].Flags != 3 {
		t.Fatalf("get many: %d items, %v", len(items), err)
	}
	item := items["k3"]
	item.Value = []byte("new")
	if err := client.CompareAndSwap(item); err != nil {
		t.Errorf("compare and swap: %v", err)
	}
	if err := client.CompareAndSwap(item); !errors.Is(err, memcache.ErrCASConflict) {
		t.Errorf("compare and swap of an old version: %v", err)
	}
	if err := client.Add(&memcache.Item{Key: "k3"}); !errors.Is(err, memcache.ErrNotStored) {
		t.Errorf("add: %v", err)
	}
	_ = client.Set(&memcache.Item{Key: "n", Value: []byte("41")})
	if n, err := client.Increment("n", 1); n != 42 || err != nil {
		t.Errorf("increment: %d, %v", n, err)
	}
	if err := client.Append(&memcache.Item{Key: "k3", Value: []byte("er")}); err != nil {
		t.Errorf("append: %v", err)
	}
	if got, err := client.GetAndTouch("k3", 50); err != nil || string(got.Value) != "newer" {
		t.Errorf("get and touch: %v, %v", got, err)
	}
	if err := client.Touch("none", 5); !errors.Is(err, memcache.ErrCacheMiss) {
		t.Errorf("touch: %v", err)
	}
	if err := client.Delete("k3"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := client.Get("k3"); !errors.Is(err, memcache.ErrCacheMiss) {
		t.Errorf("get: %v", err)
	}
	if err := client.FlushAll(); err != nil {
		t.Errorf("flush: %v", err)
	}
}
