// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/server"
)

func TestClusterFilesAreRead(t *testing.T) {
	text := "# caches\n\na.cfg.example.com|192.0.2.1|11211\r\nb||11212\n::1|2001:db8::1|1"
	want := []server.Member{{Host: "a.cfg.example.com", IP: "192.0.2.1", Port: 11211}, {Host: "b", Port: 11212},
		{Host: "::1", IP: "2001:db8::1", Port: 1}}
	if got, err := parseCluster([]byte(text)); err != nil || !slices.Equal(got, want) {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestBadClusterFilesAreRefusedWithTheirLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                  "no member",
		"# none\n":                          "no member",
		"a||1\nb|1\n":                       "line 2: it has 2 parts",
		"a||1\nb||1|\n":                     "line 2: it has 4 parts",
		"a||1\n\n\n|192.0.2.1|1\n":          "line 4: the host",
		"a b||1\n":                          "line 1: the host",
		"a\x00||1\n":                        "line 1: the host",
		strings.Repeat("a", 254) + "||1\n":  "line 1: the host",
		"a|192.0.2|1\n":                     "line 1: the IP",
		"a|192.0.2.1 b|1\n":                 "line 1: the IP",
		"a||0\n":                            "line 1: the port",
		"a||65536\n":                        "line 1: the port",
		"a||+1\n":                           "line 1: the port",
		"a||\n":                             "line 1: the port",
		"a||1\n# again\na||1\n":             "line 3: it stands there twice",
		"a||1 \n":                           "line 1: the port",
		"a||1\nCONFIG cluster 0 5\r\nx||1":  "line 2: it has 1 parts",
		"a||18446744073709551617\n":         "line 1: the port",
		"host|fe80::1%eth0|1\nb||x\nc|||||": "line 2: the port",
	} {
		if _, err := parseCluster([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: got %v, want %q", text, err, want)
		}
	}
}

func FuzzCluster(f *testing.F) {
	for _, seed := range []string{"a|192.0.2.1|11211\n", "# x\nb||1\r\n", "|||\n", "a||1\na||1\n"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		members, err := parseCluster(text)
		if err != nil {
			return
		}
		for _, m := range members {
			if m.Port == 0 || strings.ContainsAny(m.Host+m.IP, "| \r\n\x00") {
				t.Errorf("%q gives the member %+v", text, m)
			}
		}
	})
}

// clusterFixture is a file that is watched step by step.
type clusterFixture struct {
	*clusterFile
	t   *testing.T
	log *bytes.Buffer
}

func newClusterFixture(t *testing.T, text string) *clusterFixture {
	t.Helper()
	f := &clusterFixture{t: t, log: new(bytes.Buffer)}
	path := filepath.Join(t.TempDir(), "members")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	if f.clusterFile, err = openCluster(path, slog.New(slog.NewTextHandler(f.log, nil))); err != nil {
		t.Fatalf("open: %v", err)
	}
	return f
}

// write puts a content into the file that was changed at a given time.
func (f *clusterFixture) write(text string, changed time.Time) {
	f.t.Helper()
	if err := os.WriteFile(f.path, []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Chtimes(f.path, changed, changed); err != nil {
		f.t.Fatal(err)
	}
}

func (f *clusterFixture) hosts() (uint64, string) {
	version, members := f.Snapshot()
	var hosts []string
	for _, m := range members {
		hosts = append(hosts, m.Host)
	}
	return version, strings.Join(hosts, " ")
}

func TestClusterFilesAreFollowed(t *testing.T) {
	f := newClusterFixture(t, "a||1\n")
	first, hosts := f.hosts()
	if hosts != "a" || first == 0 {
		t.Fatalf("at first: %d, %q", first, hosts)
	}
	later := time.Unix(int64(first)+100, 0)
	f.write("a||1\nb||1\n", later)
	if f.poll(); true {
		if _, hosts := f.hosts(); hosts != "a" {
			t.Errorf("a content that was read once is told: %q", hosts)
		}
	}
	f.poll()
	if version, hosts := f.hosts(); hosts != "a b" || version != first+100 {
		t.Errorf("after a change: version %d, want %d; %q", version, first+100, hosts)
	}
	f.write("# the same\na||1\nb||1\n", later.Add(time.Hour))
	f.poll()
	f.poll()
	if version, _ := f.hosts(); version != first+100 {
		t.Errorf("the version rose to %d without a change of members", version)
	}
	f.write("c||1\n", later.Add(-time.Hour))
	f.poll()
	f.poll()
	if version, hosts := f.hosts(); hosts != "c" || version != first+101 {
		t.Errorf("after a change with an older time: version %d, want %d; %q", version, first+101, hosts)
	}
}

func TestBadContentKeepsTheLastGoodList(t *testing.T) {
	f := newClusterFixture(t, "a||1\n")
	now := time.Now()
	f.write("b||1\nwrong\n", now)
	for range 5 {
		f.poll()
	}
	if _, hosts := f.hosts(); hosts != "a" {
		t.Errorf("got %q", hosts)
	}
	if n := strings.Count(f.log.String(), "line 2"); n != 1 {
		t.Errorf("the line is told %d times, want once:\n%s", n, f.log)
	}
	if err := os.Remove(f.path); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		f.poll()
	}
	if n := strings.Count(f.log.String(), "no such file"); n != 1 {
		t.Errorf("that the file is gone is told %d times, want once:\n%s", n, f.log)
	}
	f.write("b||1\n", now)
	f.poll()
	f.poll()
	if _, hosts := f.hosts(); hosts != "b" {
		t.Errorf("good again: got %q", hosts)
	}
}

func TestAClusterFileMustBeGoodAtTheStart(t *testing.T) {
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad")
	long := filepath.Join(dir, "long")
	if err := os.WriteFile(bad, []byte("a||1\nb\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(long, make([]byte, maxClusterFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{bad: "line 2", long: "longer than", dir: "no regular file",
		filepath.Join(dir, "none"): "no such file"} {
		_, err := openCluster(path, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", path, err, want)
		}
	}
}
