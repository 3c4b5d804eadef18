// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command attacktable puts the results of the attack suite into the document
// that shows them, or with -check fails where the document shows others.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/memkeep/memkeep/test/attack"
)

func main() {
	check := flag.Bool("check", false, "compare instead of writing")
	flag.Parse()
	if flag.NArg() != 2 {
		fmt.Fprintln(os.Stderr, "usage: attacktable [-check] RESULTS.json DOCUMENT.md")
		os.Exit(2)
	}
	if err := run(flag.Arg(0), flag.Arg(1), *check); err != nil {
		fmt.Fprintln(os.Stderr, "attacktable:", err)
		os.Exit(1)
	}
}

func run(results, document string, check bool) error {
	report, err := attack.ReadReport(results)
	if err != nil {
		return err
	}
	// The document is whichever the caller names.
	now, err := os.ReadFile(filepath.Clean(document))
	if err != nil {
		return err
	}
	want, err := report.Embed(string(now))
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	if want == string(now) {
		return nil
	}
	if !check {
		return os.WriteFile(document, []byte(want), 0o600)
	}
	differences(string(now), want)
	return errors.New(document + " shows other results than the run gave: run make attack-table and commit")
}

// differences prints the lines that only one of the two has.
func differences(now, want string) {
	only := func(sign, these, those string) {
		there := map[string]bool{}
		for line := range strings.Lines(those) {
			there[line] = true
		}
		for line := range strings.Lines(these) {
			if !there[line] {
				fmt.Fprint(os.Stderr, sign, line)
			}
		}
	}
	only("- ", now, want)
	only("+ ", want, now)
}
