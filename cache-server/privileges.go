// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// becomeUser gives up root for another user, for good and on every thread. It does nothing for others than root.
func becomeUser(name string) error {
	if os.Getuid() != 0 && os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		return fmt.Errorf("find user %q: %w", name, err)
	}
	uid, err1 := strconv.Atoi(u.Uid)
	gid, err2 := strconv.Atoi(u.Gid)
	if err := errors.Join(err1, err2); err != nil {
		return fmt.Errorf("read the numbers of user %q: %w", name, err)
	}
	if uid == 0 {
		return nil
	}
	// Package syscall does these on every thread of the process, or ends it.
	if err := syscall.Setgroups([]int{gid}); err != nil {
		return fmt.Errorf("leave root's groups: %w", err)
	}
	if err := syscall.Setgid(gid); err != nil {
		return fmt.Errorf("become group %d: %w", gid, err)
	}
	if err := syscall.Setuid(uid); err != nil {
		return fmt.Errorf("become user %q: %w", name, err)
	}
	if syscall.Setuid(0) == nil {
		return fmt.Errorf("become user %q: the way back to root is open", name)
	}
	return nil
}

// raiseCoreLimit lets the kernel write core dumps as large as it allows this process.
func raiseCoreLimit() error {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &limit); err != nil {
		return fmt.Errorf("read the limit for core dumps: %w", err)
	}
	most := unix.Rlimit{Cur: unix.RLIM_INFINITY, Max: unix.RLIM_INFINITY}
	if unix.Setrlimit(unix.RLIMIT_CORE, &most) == nil {
		return nil
	}
	if limit.Max == 0 {
		return errors.New("raise the limit for core dumps: the system allows none")
	}
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{Cur: limit.Max, Max: limit.Max}); err != nil {
		return fmt.Errorf("raise the limit for core dumps: %w", err)
	}
	return nil
}

// lockMemory keeps every page of the process from being swapped out, from its first use on: the address space is
// reserved far beyond what is used.
func lockMemory() error {
	if err := unix.Mlockall(unix.MCL_CURRENT | unix.MCL_FUTURE | unix.MCL_ONFAULT); err != nil {
		return fmt.Errorf("lock the memory: %w", err)
	}
	return nil
}
