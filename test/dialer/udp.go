// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// udpFrame is memcached's header of a datagram: request 1, part 0 of 1.
const udpFrame = "\x00\x01\x00\x00\x00\x01\x00\x00"

// udp sends one line in a datagram, as memcached takes it, and shows what comes back. Silence is all that a guarded
// port and a port without a listener may have in common, so that nobody can tell them apart from outside.
func udp(ctx context.Context, args []string, _ io.Reader, out io.Writer) (dialing.Outcome, error) {
	fs := flags("udp")
	timeout := fs.Duration("timeout", time.Second, "")
	if err := parse(fs, args, 2, 2); err != nil {
		return dialing.Failed, err
	}
	conn, err := (&net.Dialer{Timeout: *timeout}).DialContext(ctx, "udp", fs.Arg(0))
	if err != nil {
		return dialing.Classify(err), err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(*timeout)); err != nil {
		return dialing.Failed, err
	}
	_, _ = fmt.Fprintln(out, ">", fs.Arg(1))
	answer := make([]byte, 1<<16)
	n := 0
	if _, err = io.WriteString(conn, udpFrame+fs.Arg(1)+"\r\n"); err == nil {
		n, err = conn.Read(answer)
	}
	if err != nil {
		o := dialing.ClassifyRead(err)
		_, err := fmt.Fprintf(out, "  (%s)\n", o)
		return o, err
	}
	_, err = fmt.Fprintf(out, "< %q\n", answer[:n])
	return dialing.Connected, err
}
