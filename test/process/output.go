// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package process

import (
	"strings"
	"sync"
)

// mostOutput bounds what is kept of what a process writes, in bytes.
const mostOutput = 64 << 10

// Output keeps the end of what a process writes while others read it.
type Output struct {
	mu  sync.Mutex
	buf []byte
}

// Write takes what the process wrote.
func (o *Output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, p...)
	if len(o.buf) > mostOutput {
		o.buf = append(o.buf[:0], o.buf[len(o.buf)-mostOutput:]...)
	}
	return len(p), nil
}

// String is what was kept, without space around it.
func (o *Output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(string(o.buf))
}
