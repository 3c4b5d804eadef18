// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// dialerPath is the dialer in its image.
const dialerPath = "/dialer"

// DialTimeout is how long a dial waits. A policy that drops packets makes every
// denied dial last this long, and an allowed one takes milliseconds.
const DialTimeout = 2 * time.Second

// Dial connects once from a pod.
func (c *Cluster) Dial(ctx context.Context, from Pod, addr string, timeout time.Duration) (dialing.Report, error) {
	var out bytes.Buffer
	var report dialing.Report
	ctx, cancel := context.WithTimeout(ctx, timeout+20*time.Second)
	defer cancel()
	_, err := c.Exec(ctx, from, nil, &out, dialerPath, "dial", "--json", "--timeout", timeout.String(), addr)
	if err != nil {
		return report, err
	}
	if err := json.Unmarshal(out.Bytes(), &report); err != nil {
		return report, fmt.Errorf("dial %s from %s: read report %q: %w", addr, from, out.String(), err)
	}
	return report, nil
}

// Transcript is a conversation: lines sent begin with ">", lines received with "<".
type Transcript struct {
	// Outcome is Connected when every request was answered.
	Outcome dialing.Outcome
	// Lines are the conversation's.
	Lines []string
}

// Replies returns what was received.
func (t Transcript) Replies() []string {
	var replies []string
	for _, line := range t.Lines {
		if reply, ok := strings.CutPrefix(line, "< "); ok {
			replies = append(replies, reply)
		}
	}
	return replies
}

// String is the conversation as one text.
func (t Transcript) String() string {
	return fmt.Sprintf("%s\n[%s]", strings.Join(t.Lines, "\n"), t.Outcome)
}

// Talk sends lines from a pod and returns the whole conversation.
func (c *Cluster) Talk(ctx context.Context, from Pod, addr string, lines ...string) (Transcript, error) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	command := append([]string{dialerPath, "talk", "--timeout", "3s", addr}, lines...)
	code, err := c.Exec(ctx, from, nil, &out, command...)
	t := Transcript{Outcome: dialing.FromExitCode(code)}
	scanner := bufio.NewScanner(&out)
	for scanner.Scan() {
		t.Lines = append(t.Lines, strings.TrimRight(scanner.Text(), "\r"))
	}
	return t, err
}

// Fetch gets a URL from a pod. The outcome is Connected for an answer of 200.
func (c *Cluster) Fetch(ctx context.Context, from Pod, url string) (dialing.Outcome, string, error) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	code, err := c.Exec(ctx, from, nil, &out, dialerPath, "fetch", "--timeout", "3s", url)
	return dialing.FromExitCode(code), out.String(), err
}

// Hammering is a pod that dials an address again and again.
type Hammering struct {
	addr  string
	stdin *io.PipeWriter
	done  chan struct{}
	out   bytes.Buffer
	err   error
}

// Hammer starts to dial addr from a pod every 50 ms, until Stop is called or limit is over.
func (c *Cluster) Hammer(ctx context.Context, from Pod, addr string, limit time.Duration) *Hammering {
	r, w := io.Pipe()
	h := &Hammering{addr: addr, stdin: w, done: make(chan struct{})}
	go func() {
		defer close(h.done)
		_, h.err = c.Exec(ctx, from, r, &h.out, dialerPath, "hammer", "--stdin", "--for", limit.String(), addr)
	}()
	return h
}

// Stop ends the hammering and returns its tally.
func (h *Hammering) Stop() (dialing.Tally, error) {
	var tally dialing.Tally
	_ = h.stdin.Close()
	<-h.done
	if h.err != nil {
		return tally, h.err
	}
	lines := strings.Split(strings.TrimSpace(h.out.String()), "\n")
	if err := json.Unmarshal([]byte(lines[len(lines)-1]), &tally); err != nil {
		return tally, fmt.Errorf("hammer %s: read tally %q: %w", h.addr, h.out.String(), err)
	}
	return tally, nil
}
