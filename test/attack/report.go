// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package attack

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Outcome is what an attempt came to.
type Outcome string

// The outcomes, and no others.
const (
	// RefusedByAdmission means that the API server did not take the object.
	RefusedByAdmission Outcome = "refused by admission"
	// RefusedByNetwork means that no packet came back where the attacker's own network works.
	RefusedByNetwork Outcome = "refused by the network"
	// GotNothing means that the way led nowhere.
	GotNothing Outcome = "got nothing"
	// ClosedByEngine means that the cache accepted the connection and closed it without an answer.
	ClosedByEngine Outcome = "closed by the engine"
	// ReadIt means that the attacker has what the fleet holds, or what a client stored.
	ReadIt Outcome = "READ IT"
)

// outcomes are the outcomes, the best for whoever is attacked first.
var outcomes = []Outcome{RefusedByAdmission, RefusedByNetwork, GotNothing, ClosedByEngine, ReadIt}

// Worse reports whether o is worse for whoever is attacked than other.
func (o Outcome) Worse(other Outcome) bool {
	return slices.Index(outcomes, o) > slices.Index(outcomes, other)
}

// Result is one attempt and what it came to. Nothing in it depends on the run.
type Result struct {
	// Who is the attacker, with the one right that it has.
	Who string `json:"who"`
	// Way is what it tries.
	Way string `json:"way"`
	// Outcome is what that came to.
	Outcome Outcome `json:"outcome"`
	// Why says what stopped it, or why nothing does.
	Why string `json:"why"`
	// Reported says what told the fleet's owner; empty where nothing did.
	Reported string `json:"reported,omitempty"`
}

// Mutation is a change of what protects a fleet, and what an attempt came to then.
type Mutation struct {
	// Changed is how things were.
	Changed string `json:"changed"`
	// Who and Way are those of the attempt.
	Who string `json:"who"`
	Way string `json:"way"`
	// Outcome is what the attempt came to.
	Outcome Outcome `json:"outcome"`
}

// Report is what a whole run gave.
type Report struct {
	Results   []Result   `json:"results"`
	Mutations []Mutation `json:"mutations"`
}

// Write writes the report to a file.
func (r *Report) Write(path string) error {
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	if err := os.WriteFile(path, append(data, '\n'), 0o600); err != nil {
		return fmt.Errorf("write the report: %w", err)
	}
	return nil
}

// ReadReport reads a report and refuses one with an outcome that there is not.
func ReadReport(path string) (*Report, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the report: %w", err)
	}
	r := &Report{}
	if err := json.Unmarshal(data, r); err != nil {
		return nil, fmt.Errorf("read the report %s: %w", path, err)
	}
	if len(r.Results) == 0 {
		return nil, fmt.Errorf("the report %s has no results", path)
	}
	for _, result := range r.Results {
		if !slices.Contains(outcomes, result.Outcome) {
			return nil, fmt.Errorf("the report %s: %q is no outcome (%s: %s)", path, result.Outcome, result.Who, result.Way)
		}
	}
	return r, nil
}

// Markdown renders the report as two tables.
func (r *Report) Markdown() string {
	var out strings.Builder
	counts := map[Outcome]int{}
	for _, result := range r.Results {
		counts[result.Outcome]++
	}
	fmt.Fprintf(&out, "%d attempts:", len(r.Results))
	separator := " "
	for _, o := range outcomes {
		if counts[o] > 0 {
			fmt.Fprintf(&out, "%s%d %s", separator, counts[o], o)
			separator = ", "
		}
	}
	out.WriteString(".\n\n| who | tries to | outcome | why | reported by |\n|---|---|---|---|---|\n")
	who := ""
	for _, result := range r.Results {
		shown := result.Who
		if shown == who {
			shown = ""
		}
		who = result.Who
		row(&out, shown, result.Way, emphasis(result.Outcome), result.Why, result.Reported)
	}
	if len(r.Mutations) == 0 {
		return out.String()
	}
	out.WriteString("\nThat these attempts can succeed, and that the test sees it, is part of the same run: " +
		"a protection is taken away\nor added, and the attempt is made again.\n\n" +
		"| where | who | tries to | outcome |\n|---|---|---|---|\n")
	changed := ""
	for _, m := range r.Mutations {
		shown := m.Changed
		if shown == changed {
			shown = ""
		}
		changed = m.Changed
		row(&out, shown, m.Who, m.Way, emphasis(m.Outcome))
	}
	return out.String()
}

func emphasis(o Outcome) string {
	if o == ReadIt {
		return "**" + string(o) + "**"
	}
	return string(o)
}

func row(out *strings.Builder, cells ...string) {
	for _, cell := range cells {
		fmt.Fprintf(out, "| %s ", strings.ReplaceAll(cell, "|", `\|`))
	}
	out.WriteString("|\n")
}

// The marks between which the tables stand in the document.
const (
	markBegin = "<!-- attack table: rendered from the test's results by `make attack-table` -->\n"
	markEnd   = "<!-- end of the attack table -->\n"
)

// Embed returns the document with the report between its marks.
func (r *Report) Embed(document string) (string, error) {
	before, rest, begun := strings.Cut(document, markBegin)
	_, after, ended := strings.Cut(rest, markEnd)
	if !begun || !ended {
		return "", fmt.Errorf("the document lacks the lines %q and %q, in this order", markBegin, markEnd)
	}
	return before + markBegin + "\n" + r.Markdown() + "\n" + markEnd + after, nil
}
