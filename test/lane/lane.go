// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package lane lets the lanes of hack/test.sh and the Makefile tell tests how to run: how long, and whether they may
// leave themselves out.
package lane

import (
	"os"
	"strconv"
	"testing"
)

// NoSkip is the variable that a lane sets to anything where its machine has all that tests need.
const NoSkip = "MEMKEEP_NO_SKIP"

// Lacks ends a test that needs what this machine does not have. The test is skipped, or fails where the lane says that
// the machine must have it.
func Lacks(t testing.TB, format string, args ...any) {
	t.Helper()
	if os.Getenv(NoSkip) != "" {
		t.Fatalf(format+" ("+NoSkip+" is set, so that this is a failure)", args...)
	}
	t.Skipf(format, args...)
}

// Number is the number that a lane sets in a variable of the environment, or the one to take where it sets none.
func Number(t testing.TB, name string, otherwise int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return otherwise
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s is %q: it must be a number", name, text)
	}
	return n
}
