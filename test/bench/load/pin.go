// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// pinThread binds the calling thread to one processor. A negative one means any.
func pinThread(cpu int) error {
	if cpu < 0 {
		return nil
	}
	var set unix.CPUSet
	set.Set(cpu)
	if err := unix.SchedSetaffinity(0, &set); err != nil {
		return fmt.Errorf("pin the generator to CPU %d: %w", cpu, err)
	}
	return nil
}

// Realtime lets the calling thread run before every ordinary one, and the threads and processes that it starts. It
// needs root.
func Realtime() error {
	attr := &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 1}
	if err := unix.SchedSetAttr(0, attr, 0); err != nil {
		return fmt.Errorf("ask for real-time scheduling: %w", err)
	}
	return nil
}
