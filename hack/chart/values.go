// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"
	sigsyaml "sigs.k8s.io/yaml"
)

// schemaMark begins the line of a comment that narrows what a value may be.
const schemaMark = "@schema "

// value is one of the chart's, or the whole of them.
type value struct {
	// path is where it is, as `--set` writes it; empty for the whole.
	path, name string
	// about is what the comment above it says.
	about string
	// narrow is what the comment says that it may be, in JSON schema's terms.
	narrow map[string]any
	// kind is the type of the default in JSON schema's terms.
	kind string
	// def is the default as JSON.
	def string
	// parts are the values in it; none where it is one value.
	parts []*value
}

// readValues reads a commented values.yaml.
func readValues(path string) (*value, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // A file of the repository.
	if err != nil {
		return nil, fmt.Errorf("read values: %w", err)
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(raw, &doc); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(doc.Content) != 1 || doc.Content[0].Kind != yaml.MappingNode {
		return nil, fmt.Errorf("%s: want a mapping", path)
	}
	root := &value{kind: "object"}
	return root, root.read(doc.Content[0])
}

// kinds are the types of JSON schema by YAML's tags.
var kinds = map[string]string{
	"!!str": "string", "!!int": "integer", "!!bool": "boolean", "!!map": "object", "!!seq": "array",
}

// read reads the values in a mapping.
func (v *value) read(mapping *yaml.Node) error {
	for i := 0; i < len(mapping.Content); i += 2 {
		key, node := mapping.Content[i], mapping.Content[i+1]
		part := &value{path: strings.TrimPrefix(v.path+"."+key.Value, "."), name: key.Value, kind: kinds[node.Tag]}
		if part.kind == "" {
			return fmt.Errorf("value %s: no type for a default of %s", part.path, node.Tag)
		}
		if err := part.comment(key.HeadComment); err != nil {
			return err
		}
		var def any
		if err := node.Decode(&def); err != nil {
			return fmt.Errorf("value %s: %w", part.path, err)
		}
		raw, err := json.Marshal(def)
		if err != nil {
			return fmt.Errorf("value %s: %w", part.path, err)
		}
		part.def = string(raw)
		if part.kind == "object" && len(node.Content) > 0 && part.narrow == nil {
			if err := part.read(node); err != nil {
				return err
			}
		}
		v.parts = append(v.parts, part)
	}
	return nil
}

// comment takes the comment above a value apart.
func (v *value) comment(text string) error {
	var about []string
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#"))
		rule, is := strings.CutPrefix(line, schemaMark)
		if !is {
			about = append(about, line)
			continue
		}
		if err := sigsyaml.UnmarshalStrict([]byte(rule), &v.narrow); err != nil {
			return fmt.Errorf("value %s: read its @schema: %w", v.path, err)
		}
	}
	v.about = strings.TrimSpace(strings.Join(about, " "))
	return nil
}

// fromOutside are values that Helm and parent charts pass to every chart.
var fromOutside = map[string]any{
	"global":  map[string]any{"type": "object", "description": "Values of a parent chart; not used."},
	"enabled": map[string]any{"type": "boolean", "description": "The usual condition of a parent chart; not used."},
}

// definitions are what @schema may refer to.
var definitions = map[string]any{
	"resources": map[string]any{
		"type": "object", "additionalProperties": false,
		"properties": map[string]any{
			"requests": map[string]any{"$ref": "#/definitions/quantities"},
			"limits":   map[string]any{"$ref": "#/definitions/quantities"},
			"claims":   map[string]any{"type": "array", "items": map[string]any{"type": "object"}},
		},
	},
	"quantities": map[string]any{
		"type": "object", "additionalProperties": map[string]any{"type": []string{"string", "number"}},
	},
}

// schema is values.schema.json.
func (v *value) schema() ([]byte, error) {
	top := v.rule()
	top["$schema"] = "http://json-schema.org/draft-07/schema#"
	top["title"] = "Values of the chart memkeep"
	top["definitions"] = definitions
	properties, _ := top["properties"].(map[string]any)
	for name, rule := range fromOutside {
		properties[name] = rule
	}
	out, err := json.MarshalIndent(top, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write the schema: %w", err)
	}
	return append(out, '\n'), nil
}

// rule is a value's schema. What is not named is not allowed.
func (v *value) rule() map[string]any {
	out := map[string]any{}
	if v.about != "" {
		out["description"] = v.about
	}
	if ref, is := v.narrow["$ref"].(string); is {
		// Beside a reference nothing else counts in draft 7.
		return map[string]any{"$ref": "#/definitions/" + ref}
	}
	out["type"] = v.kind
	if v.kind == "object" {
		out["additionalProperties"] = false
	}
	if len(v.parts) > 0 {
		properties := map[string]any{}
		for _, part := range v.parts {
			properties[part.name] = part.rule()
		}
		out["properties"] = properties
	}
	for key, rule := range v.narrow {
		out[key] = rule
	}
	return out
}
