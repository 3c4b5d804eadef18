// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// daemonEnv tells a process that it is the one in the background, and names the descriptor on which it reports.
const daemonEnv = "MEMKEEP_DAEMON_FD"

// daemonReady is what the background process reports once it serves.
const daemonReady = "ready\n"

// startDaemon runs this program again in a session of its own and waits until that serves. Go cannot fork: a
// process has threads from its first moment on. code is what to exit with.
func startDaemon(ctx context.Context, stderr io.Writer) (code int, err error) {
	self, err := os.Executable()
	if err != nil {
		return exitFailed, fmt.Errorf("find this program: %w", err)
	}
	report, theirs, err := os.Pipe()
	if err != nil {
		return exitFailed, fmt.Errorf("make a pipe: %w", err)
	}
	defer func() { _ = report.Close() }()
	//nolint:gosec // it is this very program, with the words it was started with
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), daemonEnv+"=3")
	cmd.ExtraFiles = []*os.File{theirs}
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return exitFailed, fmt.Errorf("start in the background: %w", err)
	}
	_ = theirs.Close()
	said, err := io.ReadAll(report)
	if err == nil && string(said) == daemonReady {
		return exitOK, cmd.Process.Release()
	}
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode(), nil
}

// isDaemon tells whether this is the process in the background.
func isDaemon(getenv func(string) string) bool {
	return getenv(daemonEnv) != ""
}

// detach reports to the process that waits, and lets go of its terminal unless the log is wanted there.
func detach(getenv func(string) string, keepLog bool) error {
	fd, err := strconv.Atoi(getenv(daemonEnv))
	if err != nil {
		return fmt.Errorf("%s: %w", daemonEnv, err)
	}
	report := os.NewFile(uintptr(fd), "report")
	if report == nil {
		return errors.New("nobody waits for the background process")
	}
	if !keepLog {
		if err := silence(); err != nil {
			return err
		}
	}
	_, err = io.WriteString(report, daemonReady)
	return errors.Join(err, report.Close())
}

// silence puts /dev/null in the place of standard input, output and error.
func silence() error {
	null, err := unix.Open(os.DevNull, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("open %s: %w", os.DevNull, err)
	}
	defer func() { _ = unix.Close(null) }()
	for fd := range 3 {
		if err := unix.Dup3(null, fd, 0); err != nil {
			return fmt.Errorf("redirect descriptor %d: %w", fd, err)
		}
	}
	return nil
}

// writePID writes the process number in one piece: whoever reads the file finds it whole.
func writePID(path string) error {
	return writeWhole(path, path+".tmp", strconv.Itoa(os.Getpid())+"\n")
}

// writeWhole writes a file under another name first.
func writeWhole(path, temporary, text string) error {
	//nolint:gosec // others may read a process number and ports
	if err := os.WriteFile(temporary, []byte(text), 0o644); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if err := os.Rename(temporary, path); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return nil
}

// portLines are the ports in use, as memcached writes them to the file that MEMCACHED_PORT_FILENAME names.
func portLines(addresses []string) string {
	var text strings.Builder
	for _, address := range addresses {
		i := strings.LastIndexByte(address, ':')
		family := "INET"
		if strings.HasPrefix(address, "[") {
			family = "INET6"
		}
		fmt.Fprintf(&text, "TCP %s: %s\n", family, address[i+1:])
	}
	return text.String()
}
