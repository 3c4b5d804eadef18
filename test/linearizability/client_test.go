// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package linearizability

import (
	"bufio"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"
)

// client is a connection that asks one thing at a time.
type client struct {
	conn net.Conn
	in   *bufio.Reader
}

func dial(t *testing.T, addr string) *client {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Errorf("dial: %v", err)
		return &client{}
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
	return &client{conn: conn, in: bufio.NewReader(conn)}
}

// ask sends a request and returns the first line of the reply.
func (c *client) ask(request string) (string, error) {
	if c.conn == nil {
		return "", net.ErrClosed
	}
	if _, err := c.conn.Write([]byte(request)); err != nil {
		return "", err
	}
	return c.line()
}

func (c *client) line() (string, error) {
	line, err := c.in.ReadString('\n')
	return strings.TrimSuffix(line, "\r\n"), err
}

// fill stores items under keys of their own.
func (c *client) fill(round, items, size int) error {
	var b strings.Builder
	value := strings.Repeat("f", size)
	for i := range items {
		fmt.Fprintf(&b, "set filler:%d:%d 0 0 %d noreply\r\n%s\r\n", round, i, size, value)
	}
	b.WriteString("mn\r\n")
	_, err := c.ask(b.String())
	return err
}

// stat asks for one statistic.
func stat(t *testing.T, addr, name string) int64 {
	t.Helper()
	c := dial(t, addr)
	line, err := c.ask("stats\r\n")
	for ; err == nil && line != "END"; line, err = c.line() {
		if words := strings.Fields(line); len(words) == 3 && words[1] == name {
			n, err := strconv.ParseInt(words[2], 10, 64)
			if err != nil {
				t.Fatalf("%s is %q", name, words[2])
			}
			return n
		}
	}
	t.Fatalf("there is no statistic %s: %v", name, err)
	return 0
}
