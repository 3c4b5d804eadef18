// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"os"
	"strconv"
	"testing"

	"github.com/memkeep/memkeep/test/inprocess"
	"github.com/memkeep/memkeep/test/process"
)

// mebibytes is the limit of all servers.
const mebibytes = 256

// startMemcached runs the reference and returns its address.
func startMemcached(t testing.TB, flags ...string) string {
	t.Helper()
	return startProgram(t, process.MustMemcached(t), flags...)
}

// startReference runs the reference without its background threads. They hold items for a moment, which shows: a number
// is padded or not, an item is a new one or the old one.
func startReference(t testing.TB) string {
	t.Helper()
	return startMemcached(t, quiet...)
}

var quiet = []string{"-o", "no_lru_maintainer,no_lru_crawler"}

// startProgram runs a memcached until the test ends and returns its address.
func startProgram(t testing.TB, binary string, flags ...string) string {
	t.Helper()
	flags = append([]string{"-m", strconv.Itoa(mebibytes)}, flags...)
	return process.MustServe(t, binary, process.MustFreeAddress(t), flags...).Addr
}

// startOurs runs the cache server in this process and returns its address. MEMKEEP_DIFF_AGAINST may name another
// memcached to run in its place: what differs then is a fault of these tests, or of two versions.
func startOurs(t testing.TB) string {
	t.Helper()
	if path := os.Getenv("MEMKEEP_DIFF_AGAINST"); path != "" {
		return startProgram(t, path, quiet...)
	}
	return inprocess.Serve(t, mebibytes).String()
}
