// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// peer starts a server on loopback that handles each connection with handle.
func peer(t *testing.T, handle func(net.Conn)) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				handle(conn)
			}()
		}
	}()
	return ln.Addr().String()
}

// scripted answers every received line with the next of the replies.
func scripted(replies ...string) func(net.Conn) {
	return func(conn net.Conn) {
		in := bufio.NewScanner(conn)
		for _, reply := range replies {
			if !in.Scan() {
				return
			}
			_, _ = io.WriteString(conn, reply)
		}
	}
}

// closedPort returns an address on which nobody listens.
func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	return ln.Addr().String()
}

func TestExitCodes(t *testing.T) {
	open := peer(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) })
	hangsUp := peer(t, func(c net.Conn) { _, _ = bufio.NewReader(c).ReadString('\n') })
	version := peer(t, scripted("VERSION 1.6.45\r\n"))
	f := func(name string, want int, args ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var out, stderr bytes.Buffer
			got := run(t.Context(), args, strings.NewReader(""), &out, &stderr)
			if got != want {
				t.Fatalf("exit code %d, want %d\n%s%s", got, want, &out, &stderr)
			}
		})
	}
	f("a dial that is accepted is 0", 0, "dial", open)
	f("a dial to a closed port is 11", 11, "dial", closedPort(t))
	f("a name that cannot exist is 15", 15, "dial", "nosuch.invalid:11211")
	f("a peer that hangs up without a word is 13", 13, "talk", hangsUp, "version")
	f("a peer that says nothing is 16", 16, "talk", "--timeout", "100ms", open, "version")
	f("an answered request is 0", 0, "talk", version, "version")
	f("an unknown command is 2", 2, "shout")
	f("a missing address is 2", 2, "dial")
	f("an unknown flag is 2", 2, "dial", "--loud", open)
	f("help is 0", 0, "help")
}

func TestTalkShowsEveryLine(t *testing.T) {
	f := func(name string, handle func(net.Conn), want string, lines ...string) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			args := append([]string{"talk", "--timeout", "2s", "--blank", "+", peer(t, handle)}, lines...)
			run(t.Context(), args, strings.NewReader(""), &out, io.Discard)
			if got := out.String(); got != want {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
	f("a storage command is sent with its data and has one line of reply",
		scripted("", "STORED\r\n", "VERSION 1\r\n"),
		"> add k 0 0 5\n> hello\n< STORED\n> version\n< VERSION 1\n",
		"add k 0 0 5", "hello", "version")
	f("a value may contain line ends and the word END",
		scripted("VALUE k 0 7\r\nEND\r\nab\r\nEND\r\n"),
		"> get k\n< VALUE k 0 7\n< END\r\nab\n< END\n", "get k")
	f("statistics end with END",
		scripted("STAT pid 1\r\nSTAT uptime 2\r\nEND\r\n"),
		"> stats\n< STAT pid 1\n< STAT uptime 2\n< END\n", "stats")
	f("noreply is not waited for",
		scripted("", "", "VERSION 1\r\n"),
		"> set k 0 0 1 noreply\n> x\n> version\n< VERSION 1\n",
		"set k 0 0 1 noreply", "x", "version")
	f("an error ends a get",
		scripted("ERROR\r\n"), "> get\n< ERROR\n", "get")
	f("blanks may be written otherwise, for callers that split words",
		scripted("END\r\n"), "> get k\n< END\n", "get+k")
	f("quit ends with the peer hanging up",
		scripted(""), "> quit\n  (closed)\n", "quit")
	f("a peer that hangs up in the middle of a value is closed",
		scripted("VALUE k 0 9\r\nab"), "> get k\n< VALUE k 0 9\n  (closed)\n", "get k")
}

func TestTalkReadsLinesFromStdin(t *testing.T) {
	var out bytes.Buffer
	args := []string{"talk", peer(t, scripted("", "STORED\r\n"))}
	if code := run(t.Context(), args, strings.NewReader("set k 0 0 1\r\nx\n"), &out, io.Discard); code != 0 {
		t.Fatalf("exit code %d\n%s", code, &out)
	}
	if want := "> set k 0 0 1\n> x\n< STORED\n"; out.String() != want {
		t.Fatalf("got %q, want %q", out.String(), want)
	}
}

func TestHammerTellsChangesOfOutcome(t *testing.T) {
	addr := closedPort(t)
	opened := time.AfterFunc(150*time.Millisecond, func() {
		ln, err := net.Listen("tcp", addr)
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { _ = ln.Close() })
	})
	defer opened.Stop()
	var out bytes.Buffer
	run(t.Context(), []string{"hammer", "--every", "10ms", "--for", "400ms", addr}, nil, &out, io.Discard)
	lines := strings.Split(strings.TrimSpace(out.String()), "\n")
	var tally dialing.Tally
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &tally); err != nil {
		t.Fatal(err)
	}
	if tally.Counts[dialing.Refused] == 0 || tally.Counts[dialing.Connected] == 0 || len(tally.Changes) < 2 {
		t.Fatalf("the port opened in the middle and the tally says %+v", tally)
	}
	if tally.Dials != tally.Counts[dialing.Refused]+tally.Counts[dialing.Connected] {
		t.Fatalf("%d dials do not add up: %+v", tally.Dials, tally.Counts)
	}
}

func TestHammerStopsWhenStdinCloses(t *testing.T) {
	addr := peer(t, func(net.Conn) {})
	done := make(chan int)
	r, w := io.Pipe()
	go func() {
		done <- run(t.Context(), []string{"hammer", "--for", "1m", "--stdin", addr}, r, io.Discard, io.Discard)
	}()
	_ = w.Close()
	select {
	case code := <-done:
		if code != 0 {
			t.Fatalf("exit code %d", code)
		}
	case <-time.After(5 * time.Second):
		t.Fatal("still hammering")
	}
}

func TestServeAnswersWithThePeersAddress(t *testing.T) {
	client, server := net.Pipe()
	go echo(server)
	defer func() { _ = client.Close() }()
	if _, err := io.WriteString(client, "version\r\n"); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(client).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, "DECOY ") {
		t.Fatalf("got %q, %v", line, err)
	}
}

func FuzzReadReply(f *testing.F) {
	f.Add("get k", "VALUE k 0 5\r\nhello\r\nEND\r\n")
	f.Add("get k", "VALUE k 0 -1\r\n")
	f.Add("get k", "VALUE k 0 99999999999999999999\r\n")
	f.Add("stats", "STAT a b\r\nEND\r\n")
	f.Add("quit", "")
	f.Add("", "ERROR\r\n")
	f.Fuzz(func(t *testing.T, request, reply string) {
		var out bytes.Buffer
		in := bufio.NewReader(strings.NewReader(reply))
		if err := readReply(in, request, &out); err != nil {
			return
		}
		if out.Len() > 4*(len(reply)+len("< \n  (closed)\n")) {
			t.Fatalf("%d bytes shown for a reply of %d", out.Len(), len(reply))
		}
	})
}
