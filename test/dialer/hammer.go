// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// hammer dials on a beat, whether or not earlier dials have come to an end, so
// that even a short gap in a policy is hit. It ends after --for, and with
// --stdin as soon as its standard input is closed.
func hammer(ctx context.Context, args []string, stdin io.Reader, out io.Writer) (dialing.Outcome, error) {
	fs := flags("hammer")
	length := fs.Duration("for", 30*time.Second, "")
	every := fs.Duration("every", 50*time.Millisecond, "")
	timeout := fs.Duration("timeout", time.Second, "")
	untilStdin := fs.Bool("stdin", false, "")
	if err := parse(fs, args, 1, 1); err != nil {
		return dialing.Failed, err
	}
	if *every <= 0 || *length <= 0 || *timeout <= 0 {
		return dialing.Failed, fmt.Errorf("%w: durations must be positive", errUsage)
	}
	ctx, cancel := context.WithTimeout(ctx, *length)
	defer cancel()
	if *untilStdin {
		go func() {
			_, _ = io.Copy(io.Discard, stdin)
			cancel()
		}()
	}
	tally := beat(ctx, fs.Arg(0), *every, *timeout, func(c dialing.Change) {
		_ = json.NewEncoder(out).Encode(c)
	})
	return dialing.Connected, json.NewEncoder(out).Encode(tally)
}

// beat starts one dial every interval until ctx ends and waits for those under way.
func beat(ctx context.Context, addr string, every, timeout time.Duration, changed func(dialing.Change)) dialing.Tally {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		tally = dialing.Tally{Address: addr, Counts: map[dialing.Outcome]int{}}
	)
	record := func(at time.Time, o dialing.Outcome) {
		mu.Lock()
		defer mu.Unlock()
		tally.Dials++
		tally.Counts[o]++
		if n := len(tally.Changes); n == 0 || tally.Changes[n-1].Outcome != o {
			tally.Changes = append(tally.Changes, dialing.Change{At: at, Outcome: o})
			changed(tally.Changes[n])
		}
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for {
		wg.Go(func() {
			at := time.Now().UTC()
			// The dial outlives ctx, so that the last ones are counted for what they are.
			conn, r := connect(context.WithoutCancel(ctx), addr, timeout)
			if conn != nil {
				_ = conn.Close()
			}
			record(at, r.Outcome)
		})
		select {
		case <-ctx.Done():
			wg.Wait()
			return tally
		case <-ticker.C:
		}
	}
}
