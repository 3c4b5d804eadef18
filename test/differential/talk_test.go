// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"
	"time"
)

// names of the two sides, in the order in which they are asked.
var names = [2]string{"memcached", "cache-server"}

func isReset(err error) bool {
	return errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// exchange sends a stream in pieces over a connection of its own, ends it, and returns all that came back.
func exchange(addr string, pieces [][]byte, farewell []byte) ([]byte, error) {
	return converse(addr, append(pieces, farewell), 0, 20*time.Second)
}

// converse sends pieces over a connection of its own, with a pause after each, and returns all that came back
// until the server closed. Where it does not, our half is closed after patience has run out.
func converse(addr string, pieces [][]byte, pause, patience time.Duration) ([]byte, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return nil, err
	}
	go func() {
		for _, piece := range pieces {
			// A server may close before it has read all: what it sent until then counts.
			if _, err := conn.Write(piece); err != nil {
				return
			}
			time.Sleep(pause)
		}
		time.AfterFunc(patience, func() { _ = conn.(*net.TCPConn).CloseWrite() })
	}()
	var got bytes.Buffer
	_, err = io.Copy(&got, conn)
	if err != nil && !isReset(err) {
		return got.Bytes(), fmt.Errorf("read replies: %w", err)
	}
	return got.Bytes(), nil
}

// onBoth calls f for each side at once.
func onBoth(f func(side int) error) error {
	var errs [2]error
	done := make(chan struct{})
	go func() {
		defer close(done)
		errs[1] = f(1)
	}()
	errs[0] = f(0)
	<-done
	for side, err := range errs {
		if err != nil {
			return fmt.Errorf("%s: %w", names[side], err)
		}
	}
	return nil
}
