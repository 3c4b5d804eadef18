// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// layout says which processors servers and generator are pinned to.
type layout struct {
	Servers   []int `json:"servers"`
	Generator []int `json:"generator"`
}

// newLayout gives servers the first processors that this process may use and the generator the next ones. Where they
// do not suffice for both, the generator's begin again at the end of the list.
func newLayout(threads int) (layout, error) {
	var set unix.CPUSet
	if err := unix.SchedGetaffinity(0, &set); err != nil {
		return layout{}, fmt.Errorf("ask for the processors: %w", err)
	}
	var usable []int
	for cpu := 0; len(usable) < set.Count(); cpu++ {
		if set.IsSet(cpu) {
			usable = append(usable, cpu)
		}
	}
	return divide(usable, threads)
}

func divide(usable []int, threads int) (layout, error) {
	if len(usable) < 2 {
		return layout{}, errors.New("servers and generator need a processor each, and there is one")
	}
	threads = min(threads, len(usable))
	generator := min(threads, max(len(usable)-threads, 1))
	return layout{Servers: usable[:threads], Generator: usable[len(usable)-generator:]}, nil
}

// pinProcess binds every thread of this process to the generator's processors, and lets it have the servers' priority.
// Threads that start later inherit both.
func pinProcess(cpus []int, nice int) error {
	var set unix.CPUSet
	for _, cpu := range cpus {
		set.Set(cpu)
	}
	threads, err := os.ReadDir("/proc/self/task")
	if err != nil {
		return err
	}
	for _, thread := range threads {
		tid, err := strconv.Atoi(thread.Name())
		if err != nil {
			continue
		}
		if err := unix.SchedSetaffinity(tid, &set); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("pin the generator to CPUs %v: %w", cpus, err)
		}
		if nice == 0 {
			continue
		}
		if err := unix.Setpriority(unix.PRIO_PROCESS, tid, nice); err != nil && !errors.Is(err, unix.ESRCH) {
			return fmt.Errorf("set the priority to %d: %w", nice, err)
		}
	}
	return nil
}
