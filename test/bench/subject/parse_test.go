// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package subject

import (
	"context"
	"strings"
	"testing"
	"time"
)

func TestReadsStracesSummary(t *testing.T) {
	const summary = `% time     seconds  usecs/call     calls    errors syscall
------ ----------- ----------- --------- --------- ----------------
 60.00    0.060000           3     20000           sendmsg
 30.00    0.030000           1     20100       100 read
  8.00    0.008000          80       100           epoll_wait
  2.00    0.002000          20       100        50 futex
------ ----------- ----------- --------- --------- ----------------
100.00    0.100000           2     40300       150 total
`
	rows := []struct {
		name, summary string
		want          Calls
		fails         bool
	}{
		{"calls, errors and a total", summary, Calls{All: 40300, Network: 40200}, false},
		{"nothing was called", "", Calls{}, true},
		{"the summary was cut off", summary[:400], Calls{}, true},
		{"no table at all", "strace: attach: ptrace(PTRACE_SEIZE, 1): Operation not permitted\n", Calls{}, true},
		{"a header without calls", "% \n    0", Calls{}, true},
		{"nothing where calls should be", "% time  calls syscall\n              total\n", Calls{}, true},
		{"no number where calls should be", strings.Replace(summary, "     20000 ", "         x ", 1), Calls{}, true},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			got, err := parseCalls(row.summary)
			if (err != nil) != row.fails || !row.fails && got != row.want {
				t.Errorf("read %+v with error %v, want %+v", got, err, row.want)
			}
		})
	}
}

func FuzzSummaries(f *testing.F) {
	f.Add("% time     seconds  usecs/call     calls    errors syscall\n" +
		" 60.00    0.060000           3     20000           total\n")
	f.Fuzz(func(t *testing.T, text string) {
		if calls, err := parseCalls(text); err == nil && calls.All == 0 {
			t.Error("a summary without calls is taken")
		}
	})
}

func TestTellsWhyAServerDidNotStart(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	o := Options{Threads: 1, MemoryMiB: 64, Connections: 10}
	_, err := Start(ctx, Program{Name: "none", Path: "/nowhere/at/all"}, o)
	if err == nil || !strings.Contains(err.Error(), "/nowhere/at/all") {
		t.Errorf("the error is %v", err)
	}
	_, err = Start(ctx, Program{Name: "false", Path: "/bin/false"}, o)
	if err == nil || !strings.Contains(err.Error(), "ended at once") {
		t.Errorf("the error is %v", err)
	}
}
