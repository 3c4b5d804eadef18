// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build conformance

package conformance

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// listed is a row of the table of scripts that do not apply.
type listed struct {
	patterns []string
	release  string // the one release that it is about, or empty
	reason   string
	used     bool
}

// list is what docs/compatibility.md says about a release's scripts.
type list []*listed

var (
	tableRow = regexp.MustCompile(`(?m)^\| (` + "`[^|]+`" + `) \| ([^|]+) \| ([^|]+) \|$`)
	quoted   = regexp.MustCompile("`([^`]+)`")
)

// readList reads the table.
func readList(t *testing.T, release string) list {
	t.Helper()
	text, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "## memcached's own test suite")
	if !found {
		t.Fatal("docs/compatibility.md has no section on memcached's own test suite")
	}
	var all list
	for _, row := range tableRow.FindAllStringSubmatch(section, -1) {
		only := strings.TrimSpace(row[2])
		if only != "every" && only != release {
			continue
		}
		l := &listed{release: only, reason: strings.TrimSpace(row[3])}
		for _, name := range quoted.FindAllStringSubmatch(row[1], -1) {
			l.patterns = append(l.patterns, name[1])
		}
		all = append(all, l)
	}
	if len(all) == 0 {
		t.Fatal("docs/compatibility.md lists no script")
	}
	return all
}

// reason says why a script does not apply, or is empty.
func (l list) reason(script string) string {
	for _, row := range l {
		for _, pattern := range row.patterns {
			if ok, _ := path.Match(pattern, script); ok {
				row.used = true
				return row.reason
			}
		}
	}
	return ""
}

// releaseOf is the version of a source tree, as its packaging or its release files say.
func releaseOf(t *testing.T, tree string) string {
	t.Helper()
	version := regexp.MustCompile(`\b1\.\d+\.\d+\b`)
	for _, name := range []string{"debian/changelog", "version.m4", "memcached.spec"} {
		text, err := os.ReadFile(filepath.Join(tree, name))
		if err != nil {
			continue
		}
		if v := version.FindString(string(text)); v != "" {
			return v
		}
	}
	return "later"
}
