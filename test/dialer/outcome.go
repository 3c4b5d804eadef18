// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
)

// Outcome is what became of a connection, in words that programs can compare.
type Outcome string

// The outcomes. The first four and Unreachable are what a dial can come to.
const (
	// Connected means that the peer accepted, or answered.
	Connected Outcome = "connected"
	// TimedOut means that nothing came back: somebody drops the packets.
	TimedOut Outcome = "timed out"
	// Refused means that the host answered and nobody listens there.
	Refused Outcome = "refused"
	// Reset means that the connection was cut off by the peer's host.
	Reset Outcome = "reset"
	// Closed means that the peer accepted and hung up without an answer.
	Closed Outcome = "closed"
	// Unreachable means that no route leads there.
	Unreachable Outcome = "unreachable"
	// Unresolved means that the name has no address.
	Unresolved Outcome = "unresolved"
	// Silent means that the peer accepted and did not answer in time.
	Silent Outcome = "silent"
	// Failed means anything else.
	Failed Outcome = "failed"
)

const (
	exitFailed = 1
	exitUsage  = 2
)

// ExitCode returns the process's exit code for an outcome.
func (o Outcome) ExitCode() int {
	switch o {
	case Connected:
		return 0
	case TimedOut:
		return 10
	case Refused:
		return 11
	case Reset:
		return 12
	case Closed:
		return 13
	case Unreachable:
		return 14
	case Unresolved:
		return 15
	case Silent:
		return 16
	default:
		return exitFailed
	}
}

// classify names what an error of dialling means.
func classify(err error) Outcome {
	var dns *net.DNSError
	switch {
	case err == nil:
		return Connected
	case errors.As(err, &dns) && !dns.IsTimeout:
		return Unresolved
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, syscall.EHOSTUNREACH), errors.Is(err, syscall.ENETUNREACH):
		return Unreachable
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return TimedOut
	}
	if ne, ok := errors.AsType[net.Error](err); ok && ne.Timeout() {
		return TimedOut
	}
	return Failed
}

// classifyRead names what an error of reading an answer means.
func classifyRead(err error) Outcome {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Closed
	}
	if o := classify(err); o != TimedOut {
		return o
	}
	return Silent
}
