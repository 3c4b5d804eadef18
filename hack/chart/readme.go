// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"strings"
)

//go:embed readme.md
var intro string

// readme is the chart's README.md: what is always there, and a table of the values.
func (v *value) readme() []byte {
	var out bytes.Buffer
	out.WriteString(intro)
	out.WriteString("\n## Values\n\n| value | what it is | default |\n|---|---|---|\n")
	v.rows(&out)
	return out.Bytes()
}

// rows writes a row for each value, and one for each group that says something.
func (v *value) rows(out *bytes.Buffer) {
	for _, part := range v.parts {
		def := "`" + part.def + "`"
		if len(part.parts) > 0 {
			def = ""
		}
		if part.about != "" || def != "" {
			fmt.Fprintf(out, "| `%s` | %s | %s |\n", part.path, strings.TrimSpace(part.about+part.choices()), cell(def))
		}
		part.rows(out)
	}
}

// choices tells the words that a value may have.
func (v *value) choices() string {
	list, _ := v.narrow["enum"].([]any)
	var words []string
	for _, word := range list {
		if word != "" {
			words = append(words, fmt.Sprintf("`%v`", word))
		}
	}
	if len(words) == 0 {
		return ""
	}
	return " One of " + strings.Join(words, ", ") + "."
}

// cell keeps a text within its cell of a table.
func cell(text string) string { return strings.ReplaceAll(text, "|", `\|`) }
