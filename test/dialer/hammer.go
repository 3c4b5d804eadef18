// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"slices"
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
	tally := sum(fs.Arg(0), beat(ctx, fs.Arg(0), *every, *timeout))
	enc := json.NewEncoder(out)
	for _, change := range tally.Changes {
		if err := enc.Encode(change); err != nil {
			return dialing.Failed, err
		}
	}
	return dialing.Connected, enc.Encode(tally)
}

// beat starts one dial every interval until ctx ends, waits for those under way
// and returns what each came to, in the order in which they began.
func beat(ctx context.Context, addr string, every, timeout time.Duration) []dialing.Change {
	var (
		wg    sync.WaitGroup
		mu    sync.Mutex
		dials []dialing.Change
	)
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	for ctx.Err() == nil {
		wg.Go(func() {
			at := time.Now().UTC()
			// The dial outlives ctx, so that the last ones are counted for what they are.
			conn, r := connect(context.WithoutCancel(ctx), addr, timeout)
			if conn != nil {
				_ = conn.Close()
			}
			mu.Lock()
			defer mu.Unlock()
			dials = append(dials, dialing.Change{At: at, Outcome: r.Outcome})
		})
		select {
		case <-ctx.Done():
		case <-ticker.C:
		}
	}
	wg.Wait()
	slices.SortFunc(dials, func(a, b dialing.Change) int { return a.At.Compare(b.At) })
	return dials
}

// sum counts outcomes and finds where they change.
func sum(addr string, dials []dialing.Change) dialing.Tally {
	tally := dialing.Tally{Address: addr, Dials: len(dials), Counts: map[dialing.Outcome]int{}}
	for i, d := range dials {
		tally.Counts[d.Outcome]++
		if i == 0 || dials[i-1].Outcome != d.Outcome {
			tally.Changes = append(tally.Changes, d)
		}
	}
	return tally
}
