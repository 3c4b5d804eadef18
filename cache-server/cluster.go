// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/memkeep/memkeep/cache-server/server"
)

const (
	// clusterPoll is how often the file of a cluster's members is read. A change counts once it was read twice:
	// whoever writes the file in place may not have written all of it at first.
	clusterPoll = time.Second
	// maxClusterFile is the longest file of members in bytes.
	maxClusterFile = 256 << 10
	// maxHostLen is the longest host name in bytes.
	maxHostLen = 253
)

// clusterFile is the membership that stands in a file, one host|ip|port a line; ip may be empty. Lines that
// are empty or begin with # do not count.
type clusterFile struct {
	path string
	log  *slog.Logger
	last []byte // what was read last, good or bad
	seen bool   // last was looked at
	list atomic.Pointer[clusterList]
}

// clusterList is a list of members that was good.
type clusterList struct {
	version uint64
	members []server.Member
}

// openCluster reads the file. At the start it must be good.
func openCluster(path string, log *slog.Logger) (*clusterFile, error) {
	f := &clusterFile{path: path, log: log}
	text, at, err := f.read()
	if err != nil {
		return nil, err
	}
	f.last, f.seen = text, true
	if err := f.take(text, at); err != nil {
		return nil, err
	}
	return f, nil
}

// Snapshot returns the members that were read last.
func (f *clusterFile) Snapshot() (version uint64, members []server.Member) {
	list := f.list.Load()
	return list.version, list.members
}

// watch follows the file until ctx ends.
func (f *clusterFile) watch(ctx context.Context) {
	tick := time.NewTicker(clusterPoll)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			f.poll()
		}
	}
}

// poll reads the file once. What is bad is told once, and the last good list stays.
func (f *clusterFile) poll() {
	text, at, err := f.read()
	if err != nil {
		text = nil
	}
	if !bytes.Equal(text, f.last) {
		f.last, f.seen = text, false
		return
	}
	if f.seen {
		return
	}
	f.seen = true
	if err == nil {
		err = f.take(text, at)
	}
	if err != nil {
		f.log.Error("Cluster file refused, the last good list stays", "error", err)
	}
}

// read returns the file's content and when it was changed.
func (f *clusterFile) read() (text []byte, changed time.Time, err error) {
	file, err := os.Open(f.path)
	if err != nil {
		return nil, changed, fmt.Errorf("open the cluster file: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, changed, fmt.Errorf("look at the cluster file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, changed, fmt.Errorf("cluster file %s is no regular file", f.path)
	}
	if text, err = io.ReadAll(io.LimitReader(file, maxClusterFile+1)); err != nil {
		return nil, changed, fmt.Errorf("read the cluster file: %w", err)
	}
	if len(text) > maxClusterFile {
		return nil, changed, fmt.Errorf("cluster file %s is longer than %d bytes", f.path, maxClusterFile)
	}
	return text, info.ModTime(), nil
}

// take makes the content the list that is told. The version is the second in which the file was changed, so
// that servers with the same file agree and a restart takes none back, or at least one more than before.
func (f *clusterFile) take(text []byte, changed time.Time) error {
	members, err := parseCluster(text)
	if err != nil {
		return fmt.Errorf("cluster file %s: %w", f.path, err)
	}
	version := uint64(max(changed.Unix(), 1))
	if old := f.list.Load(); old != nil {
		if slices.Equal(old.members, members) {
			return nil
		}
		version = max(version, old.version+1)
	}
	f.list.Store(&clusterList{version: version, members: members})
	f.log.Info("Cluster file read", "members", len(members), "version", version)
	return nil
}

// parseCluster reads the members. Errors tell the line.
func parseCluster(text []byte) ([]server.Member, error) {
	var members []server.Member
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if line == "" || line[0] == '#' {
			continue
		}
		member, err := parseMember(line)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if slices.Contains(members, member) {
			return nil, fmt.Errorf("line %d: it stands there twice", n)
		}
		members = append(members, member)
	}
	if len(members) == 0 {
		return nil, errors.New("it lists no member")
	}
	return members, nil
}

// parseMember reads host|ip|port.
func parseMember(line string) (m server.Member, err error) {
	parts := strings.Split(line, "|")
	if len(parts) != 3 {
		return m, fmt.Errorf("it has %d parts, not host|ip|port", len(parts))
	}
	m.Host, m.IP = parts[0], parts[1]
	if m.Host == "" || len(m.Host) > maxHostLen || strings.ContainsFunc(m.Host, badInHost) {
		return m, errors.New("the host is no name or address")
	}
	if m.IP != "" {
		if _, err := netip.ParseAddr(m.IP); err != nil {
			return m, errors.New("the IP address is none; leave it empty if there is none")
		}
	}
	port, err := strconv.ParseUint(parts[2], 10, 16)
	if err != nil || port == 0 {
		return m, errors.New("the port is not from 1 to 65535")
	}
	m.Port = uint16(port)
	return m, nil
}

// badInHost tells what neither names nor addresses have.
func badInHost(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	default:
		return !strings.ContainsRune("-_.:[]%", r)
	}
}
