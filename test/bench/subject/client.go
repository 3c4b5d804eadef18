// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package subject

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"
)

// ioTimeout bounds each exchange.
const ioTimeout = 60 * time.Second

// Client speaks the text protocol in batches over one connection.
type Client struct {
	conn net.Conn
	r    *bufio.Reader
	w    *bufio.Writer
	num  []byte
}

// Dial connects to a server.
func Dial(ctx context.Context, s *Server) (*Client, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", s.Addr.String())
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", s.Name, err)
	}
	return &Client{conn: conn, r: bufio.NewReaderSize(conn, 256<<10), w: bufio.NewWriterSize(conn, 256<<10)}, nil
}

// Close ends the connection.
func (c *Client) Close() error { return c.conn.Close() }

func (c *Client) deadline() error { return c.conn.SetDeadline(time.Now().Add(ioTimeout)) }

// Set queues a set without a reply. Sync sends it and waits until it is done.
func (c *Client) Set(key, value []byte) error {
	c.num = append(append(append(c.num[:0], "set "...), key...), " 0 0 "...)
	c.num = append(strconv.AppendInt(c.num, int64(len(value)), 10), " noreply\r\n"...)
	_, _ = c.w.Write(c.num)
	_, _ = c.w.Write(value)
	if _, err := c.w.WriteString("\r\n"); err != nil {
		return fmt.Errorf("set: %w", err)
	}
	return nil
}

// Sync waits until the server has done all that was queued.
func (c *Client) Sync() error {
	if err := c.deadline(); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	_, _ = c.w.WriteString("version\r\n")
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return fmt.Errorf("wait for the server: %w", err)
	}
	if !bytes.HasPrefix(line, []byte("VERSION ")) {
		return fmt.Errorf("wait for the server: it says %q", line)
	}
	return nil
}

// Gets asks for all keys in one batch and calls each with the key's number and whether it was there.
func (c *Client) Gets(keys [][]byte, each func(i int, hit bool)) error {
	if err := c.deadline(); err != nil {
		return fmt.Errorf("set deadline: %w", err)
	}
	for _, key := range keys {
		_, _ = c.w.WriteString("get ")
		_, _ = c.w.Write(key)
		_, _ = c.w.WriteString("\r\n")
	}
	if err := c.w.Flush(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	for i := range keys {
		hit, err := c.readGet()
		if err != nil {
			return fmt.Errorf("get: %w", err)
		}
		each(i, hit)
	}
	return nil
}

func (c *Client) readGet() (bool, error) {
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return false, err
	}
	if string(line) == "END\r\n" {
		return false, nil
	}
	if !bytes.HasPrefix(line, []byte("VALUE ")) {
		return false, fmt.Errorf("the server says %q", line)
	}
	size, err := strconv.Atoi(string(bytes.TrimSpace(line[bytes.LastIndexByte(line, ' '):])))
	if err != nil {
		return false, fmt.Errorf("the server says %q", line)
	}
	if _, err := io.CopyN(io.Discard, c.r, int64(size)+2); err != nil {
		return false, err
	}
	if line, err = c.r.ReadSlice('\n'); err != nil || string(line) != "END\r\n" {
		return false, fmt.Errorf("the server ends a value with %q: %w", line, err)
	}
	return true, nil
}

// Stats are the numbers of the server's general statistics.
func (c *Client) Stats() (map[string]int64, error) {
	if err := c.deadline(); err != nil {
		return nil, fmt.Errorf("set deadline: %w", err)
	}
	_, _ = c.w.WriteString("stats\r\n")
	if err := c.w.Flush(); err != nil {
		return nil, fmt.Errorf("send: %w", err)
	}
	stats := map[string]int64{}
	for {
		line, err := c.r.ReadString('\n')
		if err != nil {
			return nil, fmt.Errorf("read statistics: %w", err)
		}
		fields := strings.Fields(line)
		switch {
		case len(fields) == 1 && fields[0] == "END":
			return stats, nil
		case len(fields) == 3 && fields[0] == "STAT":
			if n, err := strconv.ParseInt(fields[2], 10, 64); err == nil {
				stats[fields[1]] = n
			}
		}
	}
}
