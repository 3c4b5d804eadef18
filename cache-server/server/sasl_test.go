// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// onlyMe believes one user with one password.
type onlyMe struct{}

func (onlyMe) Authenticate(user, password []byte) bool {
	return string(user) == "me" && string(password) == "secret"
}

func startSASL(t *testing.T) *fixture {
	t.Helper()
	return start(t, func(cfg *Config) { cfg.Authenticator = onlyMe{} })
}

func plain(credentials string) packet {
	return packet{op: protocol.OpSASLAuth, key: "PLAIN", value: credentials}
}

func TestSASL(t *testing.T) {
	const (
		done   = `0x21 0x00 body="Authenticated"`
		failed = `0x21 0x20 body="Auth failure."`
	)
	good := plain("\x00me\x00secret")
	step := func(credentials string) packet {
		return packet{op: protocol.OpSASLStep, key: "PLAIN", value: credentials}
	}
	for _, c := range []struct {
		name    string
		request []packet
		want    []string
	}{
		{"the mechanism is told to anybody", []packet{{op: protocol.OpSASLList}, {op: protocol.OpVersion}},
			[]string{`0x20 0x00 body="PLAIN"`, `0x0b 0x00 body="1.6.45"`}},
		{"nothing else is executed before", []packet{set("k", "v"), good}, []string{`0x01 0x20 body="Auth failure."`}},
		{"quietly as little", []packet{set("k", "v").with(protocol.OpSetQ), good}, []string{`0x11 0x20 body="Auth failure."`}},
		{"who is known goes on", []packet{good, noop}, []string{done, "0x0a 0x00"}},
		{"acting as oneself goes as well", []packet{plain("me\x00me\x00secret"), noop}, []string{done, "0x0a 0x00"}},
		{"acting as another does not", []packet{plain("you\x00me\x00secret"), noop},
			[]string{failed, `0x0a 0x20 body="Auth failure."`}},
		{"a wrong password may be corrected", []packet{plain("\x00me\x00wrong"), good, noop},
			[]string{failed, done, "0x0a 0x00"}},
		{"CVE-2013-7239, a second wrong attempt is no better", []packet{plain("\x00me\x00wrong"), plain("\x00me\x00wrong"),
			noop}, []string{failed, failed, `0x0a 0x20 body="Auth failure."`}},
		{"CVE-2013-7239, nor a step after a wrong attempt", []packet{plain("\x00me\x00wrong"), step("\x00me\x00secret"), noop},
			[]string{failed, `0x22 0x20 body="Auth failure."`, `0x0a 0x20 body="Auth failure."`}},
		{"a step alone is none", []packet{step("\x00me\x00secret"), noop},
			[]string{`0x22 0x20 body="Auth failure."`, `0x0a 0x20 body="Auth failure."`}},
		{"credentials may come in a step", []packet{plain(""), step("\x00me\x00secret"), noop},
			[]string{"0x21 0x21", `0x22 0x00 body="Authenticated"`, "0x0a 0x00"}},
		{"a step without credentials fails", []packet{plain(""), step(""), noop},
			[]string{"0x21 0x21", `0x22 0x20 body="Auth failure."`, `0x0a 0x20 body="Auth failure."`}},
		{"a failure takes back what was proved", []packet{good, plain("\x00me\x00wrong"), noop},
			[]string{done, failed, `0x0a 0x20 body="Auth failure."`}},
		{"an unknown mechanism fails", []packet{{op: protocol.OpSASLAuth, key: "X-NONE", value: "\x00me\x00secret"}, noop},
			[]string{failed, `0x0a 0x20 body="Auth failure."`}},
		{"a long mechanism is invalid", []packet{{op: protocol.OpSASLAuth, key: strings.Repeat("m", 33), value: "x"},
			good, noop}, []string{`0x21 0x04 body="Invalid arguments"`, done, "0x0a 0x00"}},
		{"credentials of any size are bounded", []packet{plain(strings.Repeat("x", 100_000)), good, noop},
			[]string{`0x21 0x82 body="Out of memory"`, done, "0x0a 0x00"}},
		{"credentials without a user fail", []packet{plain("\x00\x00secret"), noop},
			[]string{failed, `0x0a 0x20 body="Auth failure."`}},
		{"credentials without a password fail", []packet{plain("\x00me"), noop},
			[]string{failed, `0x0a 0x20 body="Auth failure."`}},
		{"credentials with a third part fail", []packet{plain("\x00me\x00secret\x00"), noop},
			[]string{failed, `0x0a 0x20 body="Auth failure."`}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := startSASL(t)
			var got []string
			for _, p := range replies(t, f.ask(t, request(c.request...))) {
				got = append(got, p.String())
			}
			if !slices.Equal(got, c.want) {
				t.Errorf("got\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
			if strings.Contains(f.log.String(), "secret") {
				t.Error("the log tells the password")
			}
		})
	}
}

func TestTheTextProtocolIsNoWayAroundSASL(t *testing.T) {
	f := startSASL(t)
	if got := f.ask(t, "set k 0 0 1\r\nx\r\nversion\r\n"); got != "" {
		t.Errorf("got %q", got)
	}
	_, err := New(Config{
		Engine: f.engine, Logger: slog.New(slog.DiscardHandler), MaxConnections: 1, MaxItemSize: 1,
		BindingProtocol: BindASCII, Authenticator: onlyMe{},
	})
	if err == nil {
		t.Error("a server that asks for SASL in the text protocol was made")
	}
}

func TestAuthenticationsAreCounted(t *testing.T) {
	f := startSASL(t)
	conn := f.dial(t)
	_, _ = io.WriteString(conn, request(plain("\x00me\x00wrong"), plain("\x00me\x00secret"),
		packet{op: protocol.OpStat, key: ""}))
	stats := map[string]string{}
	for {
		p, err := readPacket(conn)
		if err != nil {
			t.Fatal(err)
		}
		if p.op == protocol.OpStat && p.key == "" {
			break
		}
		stats[p.key] = p.value
	}
	if stats["auth_cmds"] != "2" || stats["auth_errors"] != "1" {
		t.Errorf("auth_cmds %s, auth_errors %s", stats["auth_cmds"], stats["auth_errors"])
	}
}
