// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/memkeep/memkeep/test/harness"
)

// The colours of a terminal, used only where the output is one.
const (
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	reset = "\x1b[0m"
)

// screen is what the reader sees: numbered steps, conversations, and one line
// for each promise that held or broke.
type screen struct {
	out    io.Writer
	colour bool
	steps  int
	kept   int
	broken []string
}

// newScreen writes to f, in colour if it is a terminal and NO_COLOR is not set.
func newScreen(f *os.File) *screen {
	info, err := f.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0
	return &screen{out: f, colour: terminal && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
}

func (s *screen) paint(colour, text string) string {
	if !s.colour {
		return text
	}
	return colour + text + reset
}

// line prints one line as it is.
func (s *screen) line(format string, args ...any) {
	_, _ = fmt.Fprintf(s.out, format+"\n", args...)
}

// step begins the next part.
func (s *screen) step(format string, args ...any) {
	s.steps++
	s.line("\n%s", s.paint(bold, fmt.Sprintf("%d. ", s.steps)+fmt.Sprintf(format, args...)))
}

// say explains.
func (s *screen) say(format string, args ...any) { s.line("   "+format, args...) }

// wait tells that something takes long.
func (s *screen) wait(format string, args ...any) {
	s.line("   %s", s.paint(dim, "... "+fmt.Sprintf(format, args...)))
}

// transcript shows a conversation.
func (s *screen) transcript(lines []string) {
	for _, line := range lines {
		s.line("     %s", s.paint(dim, strings.TrimSpace(line)))
	}
}

// promise shows whether a promise held; what is added says how it was seen.
func (s *screen) promise(err error, promise, seen string) {
	if err != nil {
		s.broken = append(s.broken, promise)
		s.line("   %s", s.paint(red, "BROKEN  "+promise+": "+harness.Saw(err)))
		return
	}
	s.kept++
	if seen != "" {
		seen = " (" + seen + ")"
	}
	s.line("   %s %s%s", s.paint(green, "ok"), promise, seen)
}
