// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// decoyIdle is how long a decoy waits for a line before it hangs up.
const decoyIdle = 30 * time.Second

// serve is a decoy: it accepts from everybody and answers each line with the
// address it came from. A stranger that reaches the decoy and not the cache was
// stopped on purpose.
func serve(ctx context.Context, args []string, _ io.Reader, out io.Writer) (dialing.Outcome, error) {
	fs := flags("serve")
	if err := parse(fs, args, 1, 1); err != nil {
		return dialing.Failed, err
	}
	ln, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fs.Arg(0))
	if err != nil {
		return dialing.Failed, err
	}
	context.AfterFunc(ctx, func() { _ = ln.Close() })
	_, _ = fmt.Fprintln(out, "listening on", ln.Addr())
	for {
		conn, err := ln.Accept()
		if errors.Is(err, net.ErrClosed) {
			return dialing.Connected, nil
		}
		if err != nil {
			return dialing.Failed, err
		}
		go echo(conn)
	}
}

// echo answers one peer until it hangs up or falls silent.
func echo(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	in := bufio.NewReaderSize(conn, 4096)
	for {
		if err := conn.SetDeadline(time.Now().Add(decoyIdle)); err != nil {
			return
		}
		if _, err := in.ReadSlice('\n'); err != nil {
			return
		}
		if _, err := fmt.Fprintf(conn, "DECOY %s\r\n", conn.RemoteAddr()); err != nil {
			return
		}
	}
}
