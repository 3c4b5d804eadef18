// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// constants returns the values of this package's string constants by the beginning of their names.
func constants(t *testing.T, prefix string) []string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "conditions.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, prefix) {
			return true
		}
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if spec.Names[0].Name != prefix+value {
			t.Errorf("constant %s has the value %s: name and value should tell the same", spec.Names[0].Name, value)
		}
		out = append(out, value)
		return true
	})
	slices.Sort(out)
	return out
}

// page is docs/conditions.md: the conditions that it has a section for, and the
// reasons that the second columns of its tables explain.
func page(t *testing.T) (conditions, reasons []string) {
	t.Helper()
	raw, err := os.ReadFile("../../docs/conditions.md")
	if err != nil {
		t.Fatal(err)
	}
	code := regexp.MustCompile("`([A-Za-z]+)`")
	for line := range strings.Lines(string(raw)) {
		if name, ok := strings.CutPrefix(line, "## "); ok {
			conditions = append(conditions, strings.TrimSpace(name))
			continue
		}
		cells := strings.Split(line, "|")
		if len(cells) != 6 {
			continue
		}
		for _, match := range code.FindAllStringSubmatch(cells[2], -1) {
			reasons = append(reasons, match[1])
		}
		meaning, advice := strings.TrimSpace(cells[3]), strings.TrimSpace(cells[4])
		if strings.Contains(cells[2], "`") && (len(meaning) < 10 || len(advice) < 5) {
			t.Errorf("no meaning or no advice: %s", line)
		}
	}
	slices.Sort(conditions)
	slices.Sort(reasons)
	return slices.Compact(conditions), slices.Compact(reasons)
}

func TestEveryConditionAndReasonIsDocumented(t *testing.T) {
	conditions, reasons := page(t)
	if want := constants(t, "Condition"); len(want) < 7 || !slices.Equal(conditions, want) {
		t.Errorf("docs/conditions.md has sections %v\nthe package has conditions %v", conditions, want)
	}
	if want := constants(t, "Reason"); len(want) < 20 || !slices.Equal(reasons, want) {
		t.Errorf("docs/conditions.md explains %v\nthe package has reasons %v", reasons, want)
	}
}
