// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command apidoc prints the reference of a CustomResourceDefinition as Markdown:
// every field with its type, bounds, default, and the rules it must meet.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: apidoc FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "apidoc:", err)
		os.Exit(1)
	}
}

func run(path string, out io.Writer) error {
	raw, err := os.ReadFile(path) //nolint:gosec // The caller names the file to read.
	if err != nil {
		return fmt.Errorf("read definition: %w", err)
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(raw, &crd); err != nil {
		return fmt.Errorf("parse %s: %w", path, err)
	}
	w := bufio.NewWriter(out)
	for _, v := range crd.Spec.Versions {
		page{w: w, crd: &crd, version: &v, seen: map[string]string{}}.print()
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write reference: %w", err)
	}
	return nil
}

// page prints one version of a definition.
type page struct {
	w       *bufio.Writer
	crd     *apiextensionsv1.CustomResourceDefinition
	version *apiextensionsv1.CustomResourceDefinitionVersion
	seen    map[string]string // Fields of an object, and the path where they were printed.
}

func (p page) printf(format string, args ...any) {
	// bufio keeps the first error until Flush.
	_, _ = fmt.Fprintf(p.w, format, args...)
}

func (p page) print() {
	names, schema := p.crd.Spec.Names, p.version.Schema.OpenAPIV3Schema
	p.printf("# %s, %s/%s\n\n", names.Kind, p.crd.Spec.Group, p.version.Name)
	p.printf("<!-- Generated from the CustomResourceDefinition by hack/generate.sh. Do not edit. -->\n\n")
	p.printf("%s\n\n", oneLine(schema.Description))
	p.printf("Resource `%s`, short name `%s`, category `%s`, %s.\n",
		names.Plural, strings.Join(names.ShortNames, "`, `"), strings.Join(names.Categories, "`, `"),
		strings.ToLower(string(p.crd.Spec.Scope)))
	p.printf("\nRules of the name, with the message of the API server:\n\n")
	for _, r := range schema.XValidations {
		p.printf("- %s\n", r.Message)
	}
	for _, part := range []string{"spec", "status"} {
		s := schema.Properties[part]
		p.printf("\n## %s\n\n%s\n", part, oneLine(s.Description))
		if s.Default != nil {
			p.printf("\nDefault: `%s`.\n", s.Default.Raw)
		}
		p.printf("\n| field | type | meaning |\n|---|---|---|\n")
		p.fields(part, &s)
		p.rules(part, &s)
	}
}

// fields prints a row for each property of an object, depth first. Fields that
// were printed before are named by their first path.
func (p page) fields(path string, s *apiextensionsv1.JSONSchemaProps) {
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		at, inner, meaning := path+"."+name, &f, oneLine(f.Description)
		if f.Items != nil {
			inner = f.Items.Schema
		}
		within := at
		if f.Items != nil {
			within += "[]"
		}
		first, again := p.first(inner, within)
		if again {
			meaning += " Fields as in `" + first + "`."
		}
		p.printf("| `%s` | %s | %s |\n", at, describe(&f, slices.Contains(s.Required, name)), meaning)
		if !again {
			p.fields(within, inner)
		}
	}
}

// first returns where an object with the same fields was printed, and remembers this one.
func (p page) first(s *apiextensionsv1.JSONSchemaProps, path string) (string, bool) {
	if len(s.Properties) < 2 {
		return "", false
	}
	key, err := json.Marshal(s.Properties)
	if err != nil {
		return "", false
	}
	first, again := p.seen[string(key)]
	if !again {
		p.seen[string(key)] = path
	}
	return first, again
}

// rules prints each message once, with the first field that it is about.
func (p page) rules(path string, s *apiextensionsv1.JSONSchemaProps) {
	var lines []string
	printed := map[string]bool{}
	collect(path, s, func(at, message string) {
		if !printed[message] {
			printed[message] = true
			lines = append(lines, fmt.Sprintf("- `%s`: %s", at, message))
		}
	})
	if len(lines) == 0 {
		return
	}
	p.printf("\nRules, with the message of the API server; the same rules hold for the same fields elsewhere:\n\n%s\n",
		strings.Join(lines, "\n"))
}

// collect calls add for each rule of a schema and of all that is in it.
func collect(path string, s *apiextensionsv1.JSONSchemaProps, add func(path, message string)) {
	for _, r := range s.XValidations {
		add(path, r.Message)
	}
	if s.Items != nil {
		collect(path+"[]", s.Items.Schema, add)
	}
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		f := s.Properties[name]
		collect(path+"."+name, &f, add)
	}
}

// describe tells a field's type, bounds and default in few words.
func describe(s *apiextensionsv1.JSONSchemaProps, required bool) string {
	words := []string{kind(s)}
	if required {
		words = append(words, "required")
	}
	if s.Minimum != nil && s.Maximum != nil {
		words = append(words, fmt.Sprintf("%.0f to %.0f", *s.Minimum, *s.Maximum))
	}
	if s.MaxLength != nil {
		words = append(words, fmt.Sprintf("at most %d characters", *s.MaxLength))
	}
	if s.MaxItems != nil {
		words = append(words, fmt.Sprintf("at most %d", *s.MaxItems))
	}
	if s.MaxProperties != nil {
		words = append(words, fmt.Sprintf("at most %d", *s.MaxProperties))
	}
	if len(s.XListMapKeys) > 0 {
		words = append(words, "merged by "+strings.Join(s.XListMapKeys, ", "))
	}
	if s.Default != nil {
		words = append(words, "default `"+string(s.Default.Raw)+"`")
	}
	return strings.Join(words, ", ")
}

func kind(s *apiextensionsv1.JSONSchemaProps) string {
	switch {
	case s.XIntOrString:
		return "quantity"
	case len(s.Enum) > 0:
		var values []string
		for _, v := range s.Enum {
			values = append(values, "`"+strings.Trim(string(v.Raw), `"`)+"`")
		}
		return strings.Join(values, " or ")
	case s.Items != nil:
		return "list of " + kind(s.Items.Schema)
	case s.AdditionalProperties != nil:
		return "map of " + kind(s.AdditionalProperties.Schema)
	}
	return s.Type
}

// oneLine joins a description's lines and keeps it from ending a table's cell.
func oneLine(s string) string {
	return strings.ReplaceAll(strings.Join(strings.Fields(s), " "), "|", `\|`)
}
