// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build conformance

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	// atOnce is how many scripts run at a time.
	atOnce = 2
	// scriptLimit is what a script may take, and listedLimit what one that does not apply may.
	scriptLimit = 3 * time.Minute
	listedLimit = 20 * time.Second
)

// TestMemcachedsOwnScripts runs t/*.t of the tree that MEMCACHED_SRC names.
func TestMemcachedsOwnScripts(t *testing.T) {
	tree := os.Getenv("MEMCACHED_SRC")
	if tree == "" {
		t.Fatal("MEMCACHED_SRC names no source tree of memcached: make test-conformance does")
	}
	scripts, err := filepath.Glob(filepath.Join(tree, "t", os.Getenv("MEMCACHED_SCRIPTS")+"*.t"))
	if err != nil || len(scripts) == 0 {
		t.Fatalf("%s/t holds no scripts (%v)", tree, err)
	}
	release := releaseOf(t, tree)
	notApplicable, dir := readList(t, release), buildDir(t, tree)

	table := make([]string, len(scripts))
	counts := make(map[string]int)
	var mu sync.Mutex
	var wg sync.WaitGroup
	slots := make(chan struct{}, atOnce)
	for i, script := range scripts {
		name := filepath.Base(script)
		reason := notApplicable.reason(name)
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			limit := scriptLimit
			if reason != "" {
				limit = listedLimit
			}
			o := runScript(t.Context(), dir, name, limit)
			verdict := judge(t, name, reason, o)
			mu.Lock()
			defer mu.Unlock()
			counts[verdict]++
			table[i] = strings.TrimRight(fmt.Sprintf("%-26s %-14s %5.1f s  %s%s", name, verdict, o.took.Seconds(),
				o.what(), because(reason)), " ")
		})
	}
	wg.Wait()
	t.Logf("memcached %s, %d scripts\n%s\n%d passed, %d failed, %d not applicable", release, len(scripts),
		strings.Join(table, "\n"), counts[passed], counts[failed], counts[unfit])
}

const (
	passed = "passed"
	failed = "FAILED"
	unfit  = "not applicable"
)

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return " (" + reason + ")"
}

// judge compares how a script ended with what the document says about it.
func judge(t *testing.T, name, reason string, o *outcome) string {
	t.Helper()
	switch {
	case reason == "" && o.ok():
		return passed
	case reason == "":
		t.Errorf("%s: %s\n    %s", name, o.what(), strings.Join(o.complaints, "\n    "))
		return failed
	case o.ok():
		t.Errorf("%s passes, and docs/compatibility.md says that it does not apply: %s", name, reason)
		return failed
	default:
		return unfit
	}
}
