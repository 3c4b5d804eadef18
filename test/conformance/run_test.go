// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build conformance

package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memkeep/memkeep/test/process"
)

// outcome is what a script said in the Test Anything Protocol.
type outcome struct {
	planned, passed, failed int
	skipped                 string // why the script left itself out
	complaints              []string
	exit                    int
	late                    bool
	took                    time.Duration
}

func (o *outcome) ok() bool {
	return o.skipped == "" && o.exit == 0 && !o.late && o.failed == 0 && o.passed > 0 && o.passed == o.planned
}

// what says in a few words how it ended.
func (o *outcome) what() string {
	switch {
	case o.skipped != "":
		return "left itself out: " + o.skipped
	case o.late:
		return fmt.Sprintf("did not end in time after %d checks", o.passed+o.failed)
	case o.failed > 0:
		return fmt.Sprintf("%d of %d checks failed", o.failed, max(o.planned, o.passed+o.failed))
	case !o.ok():
		return fmt.Sprintf("broke off after %d checks, exit code %d", o.passed, o.exit)
	default:
		return fmt.Sprintf("%d checks", o.passed)
	}
}

var (
	// expectedFailure is the directive of the Test Anything Protocol, in letters of any case, for a check that its author
	// expects to fail. It counts as passed.
	expectedFailure = regexp.MustCompile(`(?i)#\s*todo\b`)

	plan   = regexp.MustCompile(`^1\.\.(\d+)(?: # SKIP (.*))?`)
	result = regexp.MustCompile(`^(not )?ok \d+`)
)

// read takes what a script printed.
func (o *outcome) read(output string) {
	for line := range strings.SplitSeq(output, "\n") {
		if m := plan.FindStringSubmatch(line); m != nil {
			o.planned, _ = strconv.Atoi(m[1])
			if o.planned == 0 {
				o.skipped = m[2]
			}
			continue
		}
		m := result.FindStringSubmatch(line)
		switch {
		case m == nil:
		case m[1] == "" || expectedFailure.MatchString(line):
			o.passed++
		default:
			o.failed++
			if len(o.complaints) < 5 {
				o.complaints = append(o.complaints, line)
			}
		}
	}
}

// buildDir is a folder that looks to the scripts like memcached's own after a build: the scripts, the server under
// the name of its build for tests, and the helper that ends it.
func buildDir(t *testing.T, tree string) string {
	t.Helper()
	dir := t.TempDir()
	for _, part := range []string{"t", "doc"} { // one script sends lines of doc/protocol.txt
		if err := os.CopyFS(filepath.Join(dir, part), os.DirFS(filepath.Join(tree, part))); err != nil {
			t.Fatalf("copy %s: %v", part, err)
		}
	}
	binary, err := process.Build(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"memcached-debug", "memcached"} {
		if err := os.Symlink(filepath.Base(binary), filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	// memcached's own kills what runs for too long; here the script's group is.
	if err := os.WriteFile(filepath.Join(dir, "timedrun"), []byte("#!/bin/sh\nshift\nexec \"$@\"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// runScript runs one script, and ends whatever it has left running.
func runScript(ctx context.Context, dir, script string, limit time.Duration) *outcome {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, "perl", filepath.Join("t", script))
	cmd.Dir = dir
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "T_MEMD_") && !strings.HasPrefix(name, "MEMCACHED_") && name != "SSL_TEST" {
			cmd.Env = append(cmd.Env, variable)
		}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 5 * time.Second
	started := time.Now()
	err := cmd.Run()
	o := &outcome{took: time.Since(started), late: ctx.Err() != nil}
	if cmd.Process != nil {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	}
	o.read(stdout.String())
	if o.exit = cmd.ProcessState.ExitCode(); err != nil && o.exit == 0 {
		o.exit = -1
	}
	if !o.ok() && o.skipped == "" {
		o.complaints = append(o.complaints, lastLines(stderr.String(), 12)...)
	}
	return o
}

func lastLines(text string, n int) []string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[max(0, len(lines)-n):]
}
