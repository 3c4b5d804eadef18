// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package subject

import (
	"fmt"
	"os"
	"strconv"
	"strings"
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

// RSS is the memory that is in the machine for the server, in bytes: anonymous, shared and of files.
func (s *Server) RSS() (int64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.Pid()))
	if err != nil {
		return 0, err
	}
	return parseRSS(string(status))
}

func parseRSS(status string) (int64, error) {
	for line := range strings.Lines(status) {
		value, found := strings.CutPrefix(line, "VmRSS:")
		if !found {
			continue
		}
		kib, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 10, 64)
		if err != nil {
			return 0, fmt.Errorf("VmRSS is %q: %w", value, err)
		}
		return kib << 10, nil
	}
	return 0, fmt.Errorf("the status names no VmRSS")
}
