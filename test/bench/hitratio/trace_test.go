// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func oracleRecord(object uint64, size uint32) []byte {
	b := binary.LittleEndian.AppendUint32(nil, 7)
	b = binary.LittleEndian.AppendUint64(b, object)
	b = binary.LittleEndian.AppendUint32(b, size)
	return binary.LittleEndian.AppendUint64(b, ^uint64(0))
}

func TestTracesAreRead(t *testing.T) {
	same := []request{{object: 1 << 40, size: 100}, {object: 2, size: 200}, {object: 1 << 40, size: 100}}
	rows := []struct {
		name, format string
		data         []byte
		want         []request // nil means that it is refused
	}{
		{"a record of oracleGeneral has object and size", "oracle",
			slices.Concat(oracleRecord(1<<40, 100), oracleRecord(2, 200), oracleRecord(1<<40, 100)), same},
		{"a torn record is refused", "oracle", oracleRecord(1, 1)[:23], nil},
		{"big-endian integers of 8 bytes are objects", "be64", []byte{0, 0, 0, 0, 0, 0, 1, 2}, []request{{object: 258}}},
		{"big-endian integers of 4 bytes are objects", "be32", []byte{0, 0, 1, 2, 0, 0, 0, 1},
			[]request{{object: 258}, {object: 1}}},
		{"a run of blocks is as many objects", "arc", []byte("10 3 0 1\n7 1 0 2\n"),
			[]request{{object: 10}, {object: 11}, {object: 12}, {object: 7}}},
		{"a line of another length is refused", "arc", []byte("10 3 0\n"), nil},
		{"a size that is no number is refused", "text", []byte("a b\n"), nil},
		{"an empty trace is refused", "text", []byte("# nothing\n"), nil},
		{"an unknown format is refused", "csv", []byte("a\n"), nil},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "trace")
			if err := os.WriteFile(path, row.data, 0o600); err != nil {
				t.Fatal(err)
			}
			got, err := readTrace(path, row.format)
			if (err != nil) != (row.want == nil) || !slices.Equal(got, row.want) {
				t.Errorf("got %v, %v; want %v", got, err, row.want)
			}
		})
	}
}

func TestTextTracesMayBePacked(t *testing.T) {
	var buf bytes.Buffer
	z := gzip.NewWriter(&buf)
	if _, err := z.Write([]byte("# key size\nalpha 10\nbeta\nalpha 10 # again\n")); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "trace.gz")
	if err := os.WriteFile(path, buf.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	got, err := readTrace(path, "text")
	if err != nil || len(got) != 3 || got[0] != got[2] || got[0].object == got[1].object ||
		got[0].size != 10 || got[1].size != 0 {
		t.Errorf("got %v, %v", got, err)
	}
}

// mapCache keeps everything.
type mapCache map[string]int

func (m mapCache) gets(keys [][]byte, each func(int, bool)) error {
	for i, key := range keys {
		_, ok := m[string(key)]
		each(i, ok)
	}
	return nil
}

func (m mapCache) set(key, value []byte) error {
	m[string(key)] = len(value)
	return nil
}

func TestReplayMissesEachObjectOnceWhereAllFits(t *testing.T) {
	reqs := make([]request, 0, 1000)
	for i := range 1000 {
		reqs = append(reqs, request{object: uint64(i % 100)})
	}
	w := &workload{reqs: reqs, copies: 3, size: 50}
	m := mapCache{}
	misses, err := w.replay(context.Background(), m)
	if err != nil || misses != 300 || len(m) != 300 || w.objects() != 300 || w.requests() != 3000 {
		t.Errorf("got %d misses of %d objects, %v", misses, len(m), err)
	}
	for key, size := range m {
		if len(key) != 20 || size != 50 {
			t.Fatalf("key %q has a value of %d bytes", key, size)
		}
	}
}

func TestGeneratedTracesAreTheSameEveryTime(t *testing.T) {
	for _, g := range generated {
		if a, b := generate(g.name), generate(g.name); len(a) != generatedRequests || !slices.Equal(a, b) {
			t.Errorf("%s differs", g.name)
		}
	}
}

func FuzzReadTrace(f *testing.F) {
	f.Add([]byte("a 1\nb\n"))
	f.Add([]byte("10 3 0 1\n"))
	f.Add(oracleRecord(1, 1<<31))
	f.Fuzz(func(t *testing.T, data []byte) {
		for name, format := range readers {
			reqs, _ := format.read(bytes.NewReader(data))
			if name != "arc" && len(reqs) > len(data) {
				t.Errorf("%s: %d requests in %d bytes", name, len(reqs), len(data))
			}
			for _, r := range reqs {
				if r.size > maxObjectSize {
					t.Errorf("%s: an object of %d bytes", name, r.size)
				}
			}
		}
	})
}
