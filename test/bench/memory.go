// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"syscall"
	"time"
)

// missesTarget is the most that our misses may be in proportion to memcached's, with as much memory.
const missesTarget = 0.92

// density is a line of test/bench/density's output.
type density struct {
	Value     int                            `json:"valueBytes"`
	Memcached struct{ BytesPerItem float64 } `json:"memcached"`
	Ours      struct{ BytesPerItem float64 } `json:"memkeep"`
	Goal      float64                        `json:"goal"`
}

// hits is a line of test/bench/hitratio's output.
type hits struct {
	Trace    string  `json:"trace"`
	Requests float64 `json:"requests"`
	Theirs   float64 `json:"memcachedMisses"`
	Ours     float64 `json:"memkeepMisses"`
}

// items measures the memory of stored items by the program for it. Bytes do not vary from round to round as times do.
func (r *runner) items(ctx context.Context) error {
	return lines(ctx, r.o.density, []string{
		"--json", "--binary", r.serverPath(), "--limit", "256", "--threads", strconv.Itoa(r.o.threads),
	}, func(d density) {
		e := r.report.extraOf(extra{
			Name: fmt.Sprintf("item-%d", d.Value), Unit: "bytes", Target: d.Goal,
			About: fmt.Sprintf("RSS per item of a full cache of 256 MiB, key of 20 bytes and value of %d", d.Value),
		})
		e.put(reference, d.Memcached.BytesPerItem)
		e.put(ours, d.Ours.BytesPerItem)
		r.say("items of %4d bytes: memcached %7.1f bytes of RSS, ours %7.1f", d.Value, d.Memcached.BytesPerItem,
			d.Ours.BytesPerItem)
	})
}

// misses replays traces by the program for it.
func (r *runner) misses(ctx context.Context) error {
	return lines(ctx, r.o.hitratio, []string{
		"--json", "--binary", r.serverPath(), "--threads", strconv.Itoa(r.o.threads),
	}, func(h hits) {
		e := r.report.extraOf(extra{
			Name: "misses-" + h.Trace, Unit: "%", Target: missesTarget, About: "misses on a trace with as much RSS",
		})
		e.put(reference, h.Theirs/h.Requests*100)
		e.put(ours, h.Ours/h.Requests*100)
		r.say("trace %-10s memcached misses %5.2f %%, we %5.2f %%", h.Trace, h.Theirs/h.Requests*100, h.Ours/h.Requests*100)
	})
}

func (r *runner) serverPath() string {
	for _, p := range r.o.programs {
		if p.Name == ours {
			return p.Path
		}
	}
	return ""
}

// lines runs a program that prints one JSON object a line, and ends it with the context.
func lines[T any](ctx context.Context, path string, args []string, each func(T)) error {
	cmd := exec.CommandContext(ctx, path, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) } // so that it ends its servers
	cmd.WaitDelay = 20 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start %s: %w", path, err)
	}
	decoder := json.NewDecoder(out)
	for {
		var line T
		if err = decoder.Decode(&line); err != nil {
			break
		}
		each(line)
	}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err := errors.Join(err, cmd.Wait()); err != nil {
		return fmt.Errorf("%s: %w: %s", path, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return nil
}
