// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// searchPiece is how much of a process's memory is read at a time.
const searchPiece = 1 << 20

// search looks for a word, given in hexadecimal so that no command line holds it,
// in the memory of every process of a name that it sees. It tells how many it
// could read: one that lets nobody read is what a guarded process wants to be.
func search(_ context.Context, args []string, _ io.Reader, out io.Writer) (dialing.Outcome, error) {
	fs := flags("search")
	if err := parse(fs, args, 2, 2); err != nil {
		return dialing.Failed, err
	}
	word, err := hex.DecodeString(fs.Arg(1))
	if err != nil || len(word) == 0 {
		return dialing.Failed, fmt.Errorf("%w: %q is not in hexadecimal", errUsage, fs.Arg(1))
	}
	folders, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return dialing.Failed, err
	}
	seen, readable := 0, 0
	for _, folder := range folders {
		name, err := os.ReadFile(filepath.Join(folder, "comm"))
		if err != nil || strings.TrimSpace(string(name)) != fs.Arg(0) {
			continue
		}
		seen++
		found, err := searchProcess(folder, word)
		if err == nil {
			readable++
		}
		if found != "" {
			_, err := fmt.Fprintf(out, "< %s in the memory of %s\n", found, folder)
			return dialing.Connected, err
		}
	}
	_, err = fmt.Fprintf(out, "%d processes called %s seen, %d of them readable\n", seen, fs.Arg(0), readable)
	return dialing.Refused, err
}

// searchProcess looks through what a process has mapped and returns what begins
// with word. The error is that nothing could be read.
func searchProcess(folder string, word []byte) (string, error) {
	maps, err := os.ReadFile(filepath.Join(folder, "maps"))
	if err != nil {
		return "", err
	}
	memory, err := os.Open(filepath.Join(folder, "mem"))
	if err != nil {
		return "", err
	}
	defer func() { _ = memory.Close() }()
	err = errors.New("nothing is mapped")
	scanner := bufio.NewScanner(bytes.NewReader(maps))
	for scanner.Scan() {
		var from, to int64
		if _, scanErr := fmt.Sscanf(scanner.Text(), "%x-%x", &from, &to); scanErr != nil ||
			!strings.Contains(scanner.Text(), " r") {
			continue
		}
		found, readErr := searchRange(memory, from, to, word)
		if readErr == nil {
			err = nil
		}
		if found != "" {
			return found, nil
		}
	}
	return "", err
}

// searchRange looks through one mapping, in pieces that overlap by the word.
func searchRange(memory io.ReaderAt, from, to int64, word []byte) (string, error) {
	piece := make([]byte, searchPiece+len(word))
	var err error
	for at := from; at < to; at += searchPiece {
		var n int
		n, err = memory.ReadAt(piece[:min(int64(len(piece)), to-at)], at)
		if i := bytes.Index(piece[:n], word); i >= 0 {
			return string(word), nil
		}
		if n == 0 {
			return "", err
		}
	}
	return "", nil
}
