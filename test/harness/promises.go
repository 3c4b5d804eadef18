// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// LabelLimit is how long a changed label may take to reach every node's policy.
// The development cluster needs a second; Cilium with its defaults acts on a
// namespace's labels after a random time of up to 30 s and a grace period of 5 s.
const LabelLimit = 45 * time.Second

// The words that the first cache left open to the world was made to keep.
const (
	// StoreLine and StoreData are the request that stores the catchphrase.
	StoreLine = "add catchphrase 0 0 29"
	StoreData = "intelligence for sale or rent"
	// ReadLine reads it back.
	ReadLine = "get catchphrase"
)

// BrokenError says which promise does not hold, and what was seen instead.
type BrokenError struct {
	// Promise is a sentence.
	Promise string
	// Saw is what happened.
	Saw string
}

// Error implements error.
func (e *BrokenError) Error() string {
	return fmt.Sprintf("broken promise: %s, but %s", e.Promise, e.Saw)
}

// ShutOut checks that a pod cannot connect to addr although its network works:
// it reaches the decoy, which no policy guards. This is the one check that the
// demo, the tests and the tests of the tests share.
func (c *Cluster) ShutOut(ctx context.Context, from Pod, decoy, addr string) (dialing.Report, error) {
	control, err := c.Dial(ctx, from, decoy, 5*time.Second)
	if err != nil {
		return control, err
	}
	if control.Outcome != dialing.Connected {
		return control, fmt.Errorf("%s cannot reach the decoy %s (%s): nothing is proven", from, decoy, control.Outcome)
	}
	report, err := c.Dial(ctx, from, addr, DialTimeout)
	if err != nil {
		return report, err
	}
	if !Denied(report.Outcome) {
		return report, &BrokenError{
			Promise: fmt.Sprintf("%s is shut out of %s", from, addr),
			Saw:     fmt.Sprintf("a dial %s after %d ms", past(report.Outcome), report.Millis),
		}
	}
	return report, nil
}

// past puts an outcome into a sentence: a dial timed out, a dial was refused.
func past(o dialing.Outcome) string {
	if o == dialing.TimedOut || o == dialing.Connected || o == dialing.Failed {
		return string(o)
	}
	return "was " + string(o)
}

// Denied reports whether an outcome is one that a policy's denial has. A policy
// drops (timed out) or rejects; whatever else a dial comes to proves nothing.
func Denied(o dialing.Outcome) bool {
	return slices.Contains([]dialing.Outcome{dialing.TimedOut, dialing.Refused, dialing.Reset, dialing.Unreachable}, o)
}

// Store stores the catchphrase from a pod and reads it back.
func (c *Cluster) Store(ctx context.Context, from Pod, addr string) (Transcript, error) {
	t, err := c.Talk(ctx, from, addr, StoreLine, StoreData, ReadLine)
	if err != nil {
		return t, err
	}
	want := []string{"STORED", "VALUE catchphrase 0 29", StoreData, "END"}
	if got := t.Replies(); !slices.Equal(got, want) {
		return t, &BrokenError{
			Promise: fmt.Sprintf("%s stores at %s and reads back", from, addr),
			Saw:     fmt.Sprintf("the conversation was %s (%s)", strings.Join(t.Lines, " | "), t.Outcome),
		}
	}
	return t, nil
}

// LetIn waits until a pod can use the cache at addr.
func (c *Cluster) LetIn(ctx context.Context, from Pod, addr string, limit time.Duration) (time.Duration, error) {
	promise := fmt.Sprintf("%s is let in to %s", from, addr)
	return c.Eventually(ctx, from.Name+" let in", limit, func(ctx context.Context) error {
		report, err := c.Dial(ctx, from, addr, time.Second)
		if err != nil {
			return err
		}
		if report.Outcome != dialing.Connected {
			return &BrokenError{Promise: promise, Saw: fmt.Sprintf("a dial %s", past(report.Outcome))}
		}
		t, err := c.Talk(ctx, from, addr, "version")
		if err != nil {
			return err
		}
		if r := t.Replies(); len(r) != 1 || !strings.HasPrefix(r[0], "VERSION ") {
			return &BrokenError{Promise: promise, Saw: "the conversation was " + t.String()}
		}
		return nil
	})
}

// KeptOut waits until a pod that could connect cannot any more.
func (c *Cluster) KeptOut(
	ctx context.Context, from Pod, decoy, addr string, limit time.Duration,
) (time.Duration, error) {
	return c.Eventually(ctx, from.Name+" shut out", limit, func(ctx context.Context) error {
		_, err := c.ShutOut(ctx, from, decoy, addr)
		return err
	})
}

// ForwardedTalk sends a line through a port-forward to a pod's port and returns
// what came of it, and the kubelet's reason.
func (c *Cluster) ForwardedTalk(ctx context.Context, to Pod, port int, line string) (dialing.Outcome, string, error) {
	f, err := c.Forward(ctx, to, port)
	if err != nil {
		return dialing.Failed, "", err
	}
	defer f.Close()
	conn, err := (&net.Dialer{Timeout: 3 * time.Second}).DialContext(ctx, "tcp", f.Address)
	if err != nil {
		return dialing.Failed, "", fmt.Errorf("dial the port-forward's local end: %w", err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return dialing.Failed, "", err
	}
	if _, err = fmt.Fprintf(conn, "%s\r\n", line); err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	outcome := dialing.Connected
	if err != nil {
		outcome = dialing.ClassifyRead(err)
	}
	// The kubelet's reason comes over another stream, a moment later.
	for deadline := time.Now().Add(3 * time.Second); f.Cause() == "" && time.Now().Before(deadline); {
		if outcome == dialing.Connected {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	return outcome, f.Cause(), nil
}
