// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"os/exec"
	"strings"
	"testing"
)

// screenLines is how many lines fit on the screen of a newcomer with a large window.
const screenLines = 75

// demo runs the demo as `make demo` does, when all is up.
func demo(t *testing.T) {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "run", "./hack/demo")
	command.Dir = "../.."
	out, err := command.CombinedOutput()
	t.Logf("\n%s", out)
	if err != nil {
		t.Fatal(err)
	}
	text := string(out)
	for _, want := range []string{
		"> add catchphrase 0 0 29", "> intelligence for sale or rent", "< STORED", "< VALUE catchphrase 0 29",
		"timed out", "refused", "Try next",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the demo's screen lacks %q", want)
		}
	}
	if n := strings.Count(text, "\n"); n > screenLines {
		t.Errorf("%d lines are no screen", n)
	}
}
