// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package subject

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// CPU is the time in user and kernel mode of all threads of the server, those that ended included. The kernel keeps it
// in nanoseconds; /proc/PID/stat would round it to hundredths of a second.
func (s *Server) CPU() (time.Duration, error) {
	const schedClock = 2 // what the kernel's CPUCLOCK_SCHED is
	var ts unix.Timespec
	if err := unix.ClockGettime(int32(^s.Pid()<<3|schedClock), &ts); err != nil {
		return 0, fmt.Errorf("read the CPU clock of process %d: %w", s.Pid(), err)
	}
	return time.Duration(ts.Nano()), nil
}
