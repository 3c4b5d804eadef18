// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"time"
)

const (
	// startTimeout bounds how long a server may take until it answers.
	startTimeout = 20 * time.Second
	// askTimeout bounds one request.
	askTimeout = 10 * time.Second
)

// Server is a server that listens on an address of loopback.
type Server struct {
	*Process
	Addr string
}

// FreeAddress is an address of loopback that nobody listens on.
func FreeAddress() (string, error) {
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

// Command is the call of a cache server or a memcached that is to listen on an address, with more flags where there are
// any. Root's becomes nobody: memcached refuses to run as root, and both are to be treated alike.
func Command(path, addr string, flags ...string) (*exec.Cmd, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, err
	}
	args := append([]string{"-l", host, "-p", port}, flags...)
	if os.Getuid() == 0 {
		args = append(args, "-u", "nobody")
	}
	return exec.Command(path, args...), nil
}

// Serve starts a cache server or a memcached on an address and waits until it answers.
func Serve(ctx context.Context, path, addr string, flags ...string) (*Server, error) {
	cmd, err := Command(path, addr, flags...)
	if err != nil {
		return nil, err
	}
	p, err := Start(cmd)
	if err != nil {
		return nil, err
	}
	if err := p.Await(ctx, addr); err != nil {
		p.Kill()
		return nil, err
	}
	return &Server{Process: p, Addr: addr}, nil
}

// Await asks a server that was started for its version until there is an answer.
func (p *Process) Await(ctx context.Context, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		if version, err := Ask(ctx, addr, "version\r\n", "\r\n"); err == nil && strings.HasPrefix(version, "VERSION ") {
			return nil
		}
		select {
		case <-p.ended:
			return fmt.Errorf("%s ended at once: %s", p.cmd.Path, p.Stderr())
		case <-ctx.Done():
			return fmt.Errorf("%s does not answer on %s: %w: %s", p.cmd.Path, addr, ctx.Err(), p.Stderr())
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// Ask sends one request on a connection of its own and returns the reply up to and with its end.
func Ask(ctx context.Context, addr, request, end string) (string, error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", fmt.Errorf("connect: %w", err)
	}
	defer func() { _ = conn.Close() }()
	deadline := time.Now().Add(askTimeout)
	if sooner, ok := ctx.Deadline(); ok && sooner.Before(deadline) {
		deadline = sooner
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return "", err
	}
	if _, err := conn.Write([]byte(request)); err != nil {
		return "", fmt.Errorf("ask: %w", err)
	}
	var reply []byte
	buf := make([]byte, 16<<10)
	for !bytes.HasSuffix(reply, []byte(end)) {
		n, err := conn.Read(buf)
		if err != nil {
			return "", fmt.Errorf("read the reply: %w", err)
		}
		reply = append(reply, buf[:n]...)
	}
	return string(reply), nil
}
