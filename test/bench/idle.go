// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/test/bench/subject"
)

const (
	maxIdleRounds   = 5
	idleConnections = 10_000
	settle          = 1500 * time.Millisecond
)

// idle measures the memory of connections that do nothing, before and after each has made a request.
func (r *runner) idle(ctx context.Context, p subject.Program) error {
	count, err := affordable(idleConnections)
	if err != nil {
		return err
	}
	server, err := subject.Start(ctx, p, r.serverOptions(smallMemory, idleConnections+commonConnections))
	if err != nil {
		return err
	}
	defer func() { _ = server.Stop() }()
	before, err := settledRSS(ctx, server)
	if err != nil {
		return err
	}
	conns, err := connect(ctx, server, count)
	defer func() {
		for _, c := range conns {
			_ = c.Close()
		}
	}()
	if err != nil {
		return err
	}
	connected, err := settledRSS(ctx, server)
	if err != nil {
		return err
	}
	open, err := server.Stat(ctx, "curr_connections")
	if err != nil {
		return err
	}
	if open < uint64(count) {
		return fmt.Errorf("%d of %d connections are open", open, count)
	}
	if err := talk(conns); err != nil {
		return err
	}
	used, err := settledRSS(ctx, server)
	if err != nil {
		return err
	}
	fresh := r.report.extraOf(extra{
		Name: "idle", Unit: "bytes", Target: 1,
		About: fmt.Sprintf("RSS of each of %d connections that have not spoken", count),
	})
	spoken := r.report.extraOf(extra{
		Name: "idle-used", Unit: "bytes", Target: 1,
		About: fmt.Sprintf("RSS of each of %d connections after a request each", count),
	})
	each := func(rss int64) float64 { return float64(rss-before) / float64(count) }
	fresh.put(server.Name, each(connected))
	spoken.put(server.Name, each(used))
	r.say("idle connections, %-10s %6.0f bytes each, %6.0f after a request", server.Name, each(connected), each(used))
	return nil
}

// affordable is how many connections this process may open of those wanted.
func affordable(wanted int) (int, error) {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0, err
	}
	const others = 200
	if limit.Cur < 2*others {
		return 0, fmt.Errorf("%d descriptors are too few to open connections", limit.Cur)
	}
	return min(wanted, int(min(limit.Cur, 1<<30)-others)), nil
}

// settledRSS is the memory once the server has had time to give some back.
func settledRSS(ctx context.Context, server *subject.Server) (int64, error) {
	select {
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-time.After(settle):
	}
	return server.RSS()
}

func connect(ctx context.Context, server *subject.Server, count int) ([]net.Conn, error) {
	dialer := net.Dialer{Timeout: 10 * time.Second}
	conns := make([]net.Conn, 0, count)
	for len(conns) < count {
		c, err := dialer.DialContext(ctx, "tcp", server.Addr.String())
		if err != nil {
			return conns, fmt.Errorf("connection %d: %w", len(conns)+1, err)
		}
		conns = append(conns, c)
	}
	return conns, nil
}

// talk makes one request on every connection and checks its reply.
func talk(conns []net.Conn) error {
	const reply = "END\r\n"
	buf := make([]byte, len(reply))
	for i, c := range conns {
		if err := c.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
			return err
		}
		if _, err := c.Write([]byte("get nothing\r\n")); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if _, err := io.ReadFull(c, buf); err != nil {
			return fmt.Errorf("connection %d: %w", i, err)
		}
		if string(buf) != reply {
			return fmt.Errorf("connection %d: a wrong reply: %q", i, buf)
		}
	}
	return nil
}
