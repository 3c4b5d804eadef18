// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"os"
	"strconv"
	"strings"
)

// request is one read of a trace: an object and its size, or 0 if the trace does not tell.
type request struct {
	object uint64
	size   uint32
}

// maxObjectSize bounds what a trace may ask for: memcached's own limit of a value.
const maxObjectSize = 1<<20 - 512

// readers are the formats of traces, each with what it looks like.
var readers = map[string]struct {
	read func(io.Reader) ([]request, error)
	help string
}{
	"text":   {readText, "one key a line, its size in bytes behind it if known; # begins a comment"},
	"oracle": {readOracle, "libCacheSim's oracleGeneral: 24 bytes each, little-endian: time 4, object 8, size 4, next 8"},
	"be64":   {readBE64, "big-endian integers of 8 bytes, one an object"},
	"be32":   {readBE32, "big-endian integers of 4 bytes, one an object"},
	"arc":    {readARC, "lines of four numbers: first block, how many blocks, and two that do not matter"},
}

// readTrace reads a file in one of the formats. What ends in .gz is unpacked.
func readTrace(path, format string) (reqs []request, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open trace: %w", err)
	}
	defer func() { _ = f.Close() }()
	var r io.Reader = bufio.NewReaderSize(f, 1<<20)
	if strings.HasSuffix(path, ".gz") {
		if r, err = gzip.NewReader(r); err != nil {
			return nil, fmt.Errorf("unpack trace %s: %w", path, err)
		}
	}
	known, ok := readers[format]
	if !ok {
		return nil, fmt.Errorf("format %q is unknown", format)
	}
	if reqs, err = known.read(r); err != nil {
		return nil, fmt.Errorf("read trace %s: %w", path, err)
	}
	if len(reqs) == 0 {
		return nil, fmt.Errorf("trace %s is empty", path)
	}
	return reqs, nil
}

func clampSize(n uint64) uint32 { return uint32(min(n, maxObjectSize)) }

// readLines calls fn with the fields of each line that has any.
func readLines(r io.Reader, fn func(fields []string) error) error {
	s := bufio.NewScanner(r)
	for n := 1; s.Scan(); n++ {
		line, _, _ := strings.Cut(s.Text(), "#")
		if fields := strings.Fields(line); len(fields) > 0 {
			if err := fn(fields); err != nil {
				return fmt.Errorf("line %d: %w", n, err)
			}
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read lines: %w", err)
	}
	return nil
}

func readText(r io.Reader) ([]request, error) {
	var reqs []request
	err := readLines(r, func(fields []string) error {
		h := fnv.New64a()
		_, _ = io.WriteString(h, fields[0])
		req := request{object: h.Sum64()}
		if len(fields) > 2 {
			return errors.New("more than a key and a size")
		}
		if len(fields) == 2 {
			n, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				return fmt.Errorf("size: %w", err)
			}
			req.size = clampSize(n)
		}
		reqs = append(reqs, req)
		return nil
	})
	return reqs, err
}

func readARC(r io.Reader) ([]request, error) {
	var reqs []request
	err := readLines(r, func(fields []string) error {
		if len(fields) != 4 {
			return errors.New("not four numbers")
		}
		first, err := strconv.ParseUint(fields[0], 10, 64)
		if err != nil {
			return fmt.Errorf("first block: %w", err)
		}
		count, err := strconv.ParseUint(fields[1], 10, 16)
		if err != nil {
			return fmt.Errorf("count of blocks: %w", err)
		}
		for i := range count {
			reqs = append(reqs, request{object: first + i})
		}
		return nil
	})
	return reqs, err
}

// readRecords calls fn with each record of a fixed size. A torn last record is an error.
func readRecords(r io.Reader, size int, fn func(record []byte)) error {
	buf := make([]byte, size)
	for {
		_, err := io.ReadFull(r, buf)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read record of %d bytes: %w", size, err)
		}
		fn(buf)
	}
}

func readOracle(r io.Reader) ([]request, error) {
	var reqs []request
	err := readRecords(r, 24, func(b []byte) {
		size := binary.LittleEndian.Uint32(b[12:])
		reqs = append(reqs, request{object: binary.LittleEndian.Uint64(b[4:]), size: clampSize(uint64(size))})
	})
	return reqs, err
}

func readBE64(r io.Reader) ([]request, error) {
	var reqs []request
	err := readRecords(r, 8, func(b []byte) {
		reqs = append(reqs, request{object: binary.BigEndian.Uint64(b)})
	})
	return reqs, err
}

func readBE32(r io.Reader) ([]request, error) {
	var reqs []request
	err := readRecords(r, 4, func(b []byte) {
		reqs = append(reqs, request{object: uint64(binary.BigEndian.Uint32(b))})
	})
	return reqs, err
}
