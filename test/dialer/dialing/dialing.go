// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package dialing holds the words in which the dialer reports, so that the
// programs that run it in pods can read them.
package dialing

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"time"
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

// Exit codes of the dialer that stand for no outcome.
const (
	ExitFailed = 1
	ExitUsage  = 2
)

// codes are the dialer's exit codes.
var codes = map[Outcome]int{
	Connected:   0,
	TimedOut:    10,
	Refused:     11,
	Reset:       12,
	Closed:      13,
	Unreachable: 14,
	Unresolved:  15,
	Silent:      16,
}

// ExitCode returns the dialer's exit code for an outcome.
func (o Outcome) ExitCode() int {
	if code, ok := codes[o]; ok {
		return code
	}
	return ExitFailed
}

// FromExitCode returns the outcome that a dialer's exit code stands for.
func FromExitCode(code int) Outcome {
	for outcome, c := range codes {
		if c == code {
			return outcome
		}
	}
	return Failed
}

// Report is what `dial --json` prints.
type Report struct {
	Address string  `json:"address"`
	Outcome Outcome `json:"outcome"`
	Millis  int64   `json:"millis"`
	Error   string  `json:"error,omitempty"`
}

// Change is one line of `hammer`: from this dial on, the outcome was another.
type Change struct {
	At      time.Time `json:"at"`
	Outcome Outcome   `json:"outcome"`
}

// Tally is hammer's last line.
type Tally struct {
	Address string          `json:"address"`
	Dials   int             `json:"dials"`
	Counts  map[Outcome]int `json:"counts"`
	Changes []Change        `json:"changes"`
}

// Classify names what an error of dialling means.
func Classify(err error) Outcome {
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

// ClassifyRead names what an error of reading an answer means.
func ClassifyRead(err error) Outcome {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return Closed
	}
	if o := Classify(err); o != TimedOut {
		return o
	}
	return Silent
}
