// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestReadsRSS(t *testing.T) {
	if got, err := parseRSS("Name:\tx\nVmHWM:\t    9 kB\nVmRSS:\t    12 kB\n"); err != nil || got != 12<<10 {
		t.Errorf("read %d with error %v, want %d", got, err, 12<<10)
	}
	for _, status := range []string{"", "VmRSS:\tmuch\n", "Name:\tx\n"} {
		if _, err := parseRSS(status); err == nil {
			t.Errorf("%q is taken", status)
		}
	}
}

func TestKeepsTheEndOfWhatAProcessSays(t *testing.T) {
	p, err := Start(exec.Command("/bin/sh", "-c", "seq 1 20000 >&2; echo the end >&2; exit 3"))
	if err != nil {
		t.Fatal(err)
	}
	if code := p.State().ExitCode(); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	if said := p.Stderr(); !strings.HasSuffix(said, "\n20000\nthe end") || len(said) > mostOutput {
		t.Errorf("of what it said, %d bytes are kept, and the end is %q", len(said), said[max(0, len(said)-20):])
	}
}

func TestKillsWhatDoesNotStop(t *testing.T) {
	p, err := Start(exec.Command("/bin/sh", "-c", "trap '' TERM; echo ready >&2; while :; do sleep 0.1; done"))
	if err != nil {
		t.Fatal(err)
	}
	for p.Stderr() != "ready" {
		time.Sleep(time.Millisecond)
	}
	if err := p.Stop(50 * time.Millisecond); err == nil {
		t.Error("it is said to have stopped")
	}
	if p.State().Success() {
		t.Error("it ended by itself")
	}
}

func TestTellsWhyAServerDidNotStart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for path, want := range map[string]string{"/nowhere/at/all": "/nowhere/at/all", "/bin/false": "ended at once"} {
		if _, err := Serve(ctx, path, MustFreeAddress(t)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want one with %q", path, err, want)
		}
	}
}
