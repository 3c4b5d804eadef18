// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/engine"
)

// watchOn makes a connection watch, and returns what it is told line by line.
func watchOn(t *testing.T, f *fixture, words string) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn := f.dial(t)
	send(t, conn, "watch"+words+"\r\n", "OK\r\n")
	return conn, bufio.NewReader(conn)
}

func readLine(t *testing.T, lines *bufio.Reader) string {
	t.Helper()
	line, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("read an event: got %q, %v", line, err)
	}
	return line
}

func TestWatchTellsOfEachKindAsMemcachedDoes(t *testing.T) {
	big := strings.Repeat("v", 100_000)
	for _, c := range []struct {
		name, words, requests string
		// want are the lines behind time and number; N is any number.
		want []string
	}{
		{"fetchers, which is what watch alone means", "", "get here\r\ntouch none 0\r\nmg h%20 v\r\n", []string{
			"type=item_get key=here status=found clsid=1 cfd=N size=5",
			"type=item_get key=none status=not_found clsid=0 cfd=N size=0",
			"type=item_get key=h%2520 status=not_found clsid=0 cfd=N size=0"}},
		{"a large value that is held is a fetch like any other", " fetchers", "get big\r\nget big\r\n", []string{
			"type=item_get key=big status=found clsid=N cfd=N size=100000",
			"type=item_get key=big status=found clsid=N cfd=N size=100000"}},
		{"mutations", " mutations", "set a 0 9 1\r\nx\r\nadd here 0 0 2\r\nyy\r\nreplace none 0 0 1\r\nx\r\n" +
			"append none 0 0 1\r\nx\r\nprepend here 0 0 1\r\nx\r\ncas here 0 0 1 1\r\nx\r\ncas none 0 0 1 1\r\nx\r\n" +
			"ms m 1 ME\r\nx\r\nset t 0 0 2000000\r\n" + strings.Repeat("v", 2_000_000) + "\r\n", []string{
			"type=item_store key=a status=stored cmd=set ttl=9 clsid=1 cfd=N size=1",
			"type=item_store key=here status=not_stored cmd=add ttl=0 clsid=1 cfd=N size=2",
			"type=item_store key=none status=not_stored cmd=replace ttl=0 clsid=1 cfd=N size=1",
			"type=item_store key=none status=not_stored cmd=append ttl=0 clsid=1 cfd=N size=1",
			"type=item_store key=here status=stored cmd=prepend ttl=0 clsid=1 cfd=N size=1",
			"type=item_store key=here status=exists cmd=cas ttl=0 clsid=1 cfd=N size=1",
			"type=item_store key=none status=not_found cmd=cas ttl=0 clsid=1 cfd=N size=1",
			"type=item_store key=m status=stored cmd=add ttl=0 clsid=1 cfd=N size=1",
			"type=item_store key=t status=too_large cmd=set ttl=0 clsid=0 cfd=N size=0"}},
		{"a large value is a mutation with its whole size", " mutations", "set b 0 0 100000\r\n" + big + "\r\n", []string{
			"type=item_store key=b status=stored cmd=set ttl=0 clsid=N cfd=N size=100000"}},
		{"deletions", " deletions", "delete none\r\ndelete here\r\nms m 2\r\nxx\r\nmd m\r\n", []string{
			"type=deleted key=here cmd=delete clsid=1 size=5", "type=deleted key=m cmd=md clsid=1 size=2"}},
		{"several kinds at once, in the order of events", " mutations deletions fetchers", "delete here\r\nget here\r\n",
			[]string{"type=item_get key=here status=found clsid=1 cfd=N size=5",
				"type=deleted key=here cmd=delete clsid=1 size=5",
				"type=item_get key=here status=not_found clsid=0 cfd=N size=0"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := start(t, nil)
			f.ask(t, "set here 0 0 5\r\nvalue\r\nset big 0 0 100000\r\n"+big+"\r\n")
			_, lines := watchOn(t, f, c.words)
			f.ask(t, c.requests)
			last := 0
			for _, want := range c.want {
				gid := checkEvent(t, readLine(t, lines), want)
				if gid <= last {
					t.Errorf("event %d comes after %d", gid, last)
				}
				last = gid
			}
		})
	}
}

var eventLine = regexp.MustCompile(`^ts=([0-9]+)\.[0-9]{1,6} gid=([0-9]+) (type=.*)\n$`)

// checkEvent compares a line but for its time and number, which it returns.
func checkEvent(t *testing.T, line, want string) (gid int) {
	t.Helper()
	parts := eventLine.FindStringSubmatch(line)
	if parts == nil {
		t.Fatalf("%q is no event", line)
	}
	if at, _ := strconv.ParseInt(parts[1], 10, 64); max(time.Now().Unix()-at, at-time.Now().Unix()) > 60 {
		t.Errorf("%q is of another time", line)
	}
	pattern := "^" + strings.ReplaceAll(regexp.QuoteMeta(want), "=N", "=[1-9][0-9]*") + "$"
	if !regexp.MustCompile(pattern).MatchString(parts[3]) {
		t.Errorf("got %q, want %q", parts[3], want)
	}
	gid, _ = strconv.Atoi(parts[2])
	return gid
}

func TestWatchTellsOfConnections(t *testing.T) {
	f := start(t, nil)
	_, lines := watchOn(t, f, " connevents")
	conn := f.dial(t)
	port := strconv.Itoa(conn.LocalAddr().(*net.TCPAddr).Port)
	checkEvent(t, readLine(t, lines), "type=conn_new rip=127.0.0.1 rport="+port+" transport=tcp cfd=N")
	send(t, conn, "version\r\n", "VERSION 1.6.45\r\n")
	_ = conn.Close()
	checkEvent(t, readLine(t, lines), "type=conn_close rip=127.0.0.1 rport="+port+" transport=tcp reason=normal cfd=N")
	conn = f.dial(t)
	port = strconv.Itoa(conn.LocalAddr().(*net.TCPAddr).Port)
	checkEvent(t, readLine(t, lines), "type=conn_new rip=127.0.0.1 rport="+port+" transport=tcp cfd=N")
	_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\n")
	checkEvent(t, readLine(t, lines), "type=conn_close rip=127.0.0.1 rport="+port+" transport=tcp reason=error cfd=N")
}

func TestWatchTellsOfEvictions(t *testing.T) {
	e, err := engine.New(engine.Config{MaxBytes: 8 << 20, MaxItemSize: 1 << 20, SizeClasses: SizeClasses(Settings{})})
	if err != nil {
		t.Fatal(err)
	}
	f := start(t, func(cfg *Config) { cfg.Engine = e })
	_, lines := watchOn(t, f, " evictions")
	value := strings.Repeat("v", 8000)
	var requests strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&requests, "set key%04d 0 1000 8000 noreply\r\n%s\r\n", i, value)
	}
	f.ask(t, requests.String())
	line := readLine(t, lines)
	parts := eventLine.FindStringSubmatch(line)
	if parts == nil || !regexp.MustCompile(`^type=eviction key=key[0-9]{4} fetch=no ttl=(9[0-9]{2}|1000) la=[0-9]+ `+
		`clsid=[1-9][0-9]* size=8000$`).MatchString(parts[3]) {
		t.Errorf("got %q", line)
	}
}

// fetch makes so many events of some 130 bytes each.
func fetch(t *testing.T, f *fixture, events int) {
	t.Helper()
	f.ask(t, strings.Repeat("get "+strings.Repeat("k", 60)+"\r\n", events))
}

func TestASlowWatcherIsToldHowMuchItMissedAndHoldsNoMoreThanItsShare(t *testing.T) {
	const events = 40_000
	f := start(t, func(cfg *Config) { cfg.WatcherBuffer = 16 << 10 })
	_, lines := watchOn(t, f, " fetchers")
	held := f.transfer.used.Load()
	fetch(t, f, events)
	if most := held + workspaceSize + largeShare; f.transfer.peak.Load() > most+bufferSize {
		t.Errorf("the connections held %d bytes, want at most %d", f.transfer.peak.Load(), most+bufferSize)
	}
	f.watchers.mu.RLock()
	one := f.watchers.list[0]
	f.watchers.mu.RUnlock()
	one.mu.Lock()
	if size := cap(one.buf); size > 16<<10 {
		t.Errorf("the watcher holds %d bytes, want at most %d", size, 16<<10)
	}
	one.mu.Unlock()
	told, missed := 0, 0
	for told+missed < events {
		fetch(t, f, 1) // what was missed is told with the next line that has room
		line := readLine(t, lines)
		if rest, ok := strings.CutPrefix(line, "skipped="); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(rest, "\n"))
			if err != nil || n < 1 {
				t.Fatalf("got %q", line)
			}
			missed += n
			continue
		}
		checkEvent(t, line, "type=item_get key="+strings.Repeat("k", 60)+" status=not_found clsid=0 cfd=N size=0")
		told++
	}
	if missed == 0 {
		t.Error("nothing was skipped, so that nothing was shown")
	}
	if n := f.watchers.skipped.Load(); n < uint64(missed) {
		t.Errorf("%d lines are counted as skipped, want at least %d", n, missed)
	}
}

func TestWhatWaitsForAWatcherIsSentWithoutFurtherEvents(t *testing.T) {
	const events = 8000
	f := start(t, func(cfg *Config) { cfg.WatcherBuffer = 2 << 20 })
	_, lines := watchOn(t, f, " fetchers")
	fetch(t, f, events)
	for range events {
		checkEvent(t, readLine(t, lines),
			"type=item_get key="+strings.Repeat("k", 60)+" status=not_found clsid=0 cfd=N size=0")
	}
}

func TestAWatcherThatGoesAwayIsForgotten(t *testing.T) {
	f := start(t, nil)
	conn, _ := watchOn(t, f, " fetchers")
	if n := f.watchers.count(); n != 1 {
		t.Fatalf("%d watchers, want 1", n)
	}
	_ = conn.Close()
	eventually(t, "the watcher is forgotten", func() bool { return f.watchers.count() == 0 })
	if f.watchers.mask.Load() != 0 {
		t.Error("events are still made for nobody")
	}
	eventually(t, "its memory is given back", func() bool { return f.transfer.used.Load() == 0 })
}

func TestWatchersAreBoundedInNumber(t *testing.T) {
	f := start(t, nil)
	for range maxWatchers {
		watchOn(t, f, "")
	}
	conn := f.dial(t)
	send(t, conn, "watch\r\n", "WATCHER_TOO_MANY log watcher limit reached\r\n")
	send(t, conn, "version\r\n", "VERSION 1.6.45\r\n")
}

func TestWatchIsRefused(t *testing.T) {
	for _, c := range []struct{ name, request, want string }{
		{"where a word is not known", "watch fetchers everything\r\n", "ERROR\r\n"},
		{"behind other commands of a batch", "version\r\nwatch\r\n",
			"VERSION 1.6.45\r\nERROR cannot pipeline other commands before watch\r\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := start(t, nil).ask(t, c.request); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
	t.Run("where there is no memory for it", func(t *testing.T) {
		f := start(t, func(cfg *Config) { cfg.TransferBytes = 64 << 10 })
		if got := f.ask(t, "watch\r\n"); got != "WATCHER_FAILED failed to add log watcher\r\n" {
			t.Errorf("got %q", got)
		}
	})
}

func TestADrainEndsAWatch(t *testing.T) {
	f := start(t, nil)
	conn, _ := watchOn(t, f, "")
	go f.stop(t)
	expectClosed(t, conn)
}
