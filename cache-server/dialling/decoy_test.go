// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package dialling

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// talk sends text to the decoy and returns all that comes back.
func talk(t *testing.T, address, text string) string {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(5 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	got, _ := io.ReadAll(conn)
	return string(got)
}

func TestADecoySaysTheSameToAll(t *testing.T) {
	address := serveDecoy(t, &Decoy{Most: 8, PerSecond: 1000})
	const line = controlapi.DecoyReply + "\r\n"
	long := make([]byte, decoyReads)
	for text, want := range map[string]string{
		"get catchphrase\r\n": line, "\n": line, "stats\r\nstats\r\n": line, "GET / HTTP/1.1\r\n": line,
		string(long): line,
		// Who says nothing hears nothing.
		"": "", "no end": "",
	} {
		if got := talk(t, address, text); got != want {
			t.Errorf("to %.20q it said %q", text, got)
		}
	}
}

func TestADecoyHasNoMoreConnectionsThanItMay(t *testing.T) {
	const most = 3
	address := serveDecoy(t, &Decoy{Most: most, PerSecond: 1000})
	for range most {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
	}
	time.Sleep(50 * time.Millisecond)
	if got := talk(t, address, "x\n"); got != "" {
		t.Errorf("one too many was told %q", got)
	}
	// Those who hold the places lose them.
	time.Sleep(decoyPatience + 100*time.Millisecond)
	if got := talk(t, address, "x\n"); got == "" {
		t.Error("the places were not given back")
	}
}

func TestADecoyAnswersSoManyASecond(t *testing.T) {
	d := &Decoy{Most: 100, PerSecond: 2}
	admitted := 0
	for range 5 {
		if d.admit(7) {
			admitted++
			d.leave()
		}
	}
	if admitted != 2 || !d.admit(8) {
		t.Errorf("admitted were %d", admitted)
	}
}
