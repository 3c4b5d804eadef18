// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"testing"

	sigsyaml "sigs.k8s.io/yaml"
)

// rights are what rules allow, one by one.
func rights(lists ...[]rule) map[string]bool {
	out := map[string]bool{}
	for _, list := range lists {
		for _, r := range list {
			for _, group := range r.APIGroups {
				for _, resource := range r.Resources {
					for _, verb := range r.Verbs {
						out[group+"/"+resource+" "+verb] = true
					}
				}
			}
		}
	}
	return out
}

// TestNoRightIsLostOrWonWhenTheClusterRoleIsDivided looks at the chart as it is.
func TestNoRightIsLostOrWonWhenTheClusterRoleIsDivided(t *testing.T) {
	raw, err := os.ReadFile(filepath.Join("../..", chart, "files/rbac/rules.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var set roleSet
	if err := sigsyaml.UnmarshalStrict(raw, &set); err != nil {
		t.Fatal(err)
	}
	whole, parts := rights(set.Cluster), rights(set.Namespaced, set.Reviews, set.Reader)
	for right := range whole {
		if !parts[right] {
			t.Errorf("an operator with watched namespaces may not %s", right)
		}
	}
	for right := range rights(set.Namespaced, set.Reviews, set.Reader, set.Outsiders) {
		if !whole[right] {
			t.Errorf("an operator with watched namespaces may %s, and one of the whole cluster may not", right)
		}
	}
	if len(whole) < 40 || len(set.Own) == 0 || len(set.Outsiders) == 0 {
		t.Errorf("got %d rights: this test shows nothing", len(whole))
	}
	for _, r := range set.Reader {
		for _, verb := range r.Verbs {
			if verb != "list" && verb != "watch" {
				t.Errorf("the reader may %s %v", verb, r.Resources)
			}
		}
	}
}

func TestValuesTakeTheirSchemaFromTheirComments(t *testing.T) {
	path := filepath.Join(t.TempDir(), "values.yaml")
	text := "# Of the file.\n\n# How many.\n# @schema {minimum: 1}\nn: 2\ngroup:\n  # A word.\n  word: \"\"\n  free: {}\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	v, err := readValues(path)
	if err != nil {
		t.Fatal(err)
	}
	n, group := v.parts[0].rule(), v.parts[1].rule()
	if n["type"] != "integer" || n["description"] != "How many." || n["minimum"] == nil {
		t.Errorf("n: %v", n)
	}
	if group["additionalProperties"] != false || len(group["properties"].(map[string]any)) != 2 {
		t.Errorf("group: %v", group)
	}
	if free := v.parts[1].parts[1].rule(); free["additionalProperties"] != false {
		t.Errorf("a mapping that says nothing is open: %v", free)
	}
	for _, bad := range []string{"# @schema {\nn: 1\n", "n: 1.5\n", "- a\n"} {
		if err := os.WriteFile(path, []byte(bad), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readValues(path); err == nil {
			t.Errorf("%q was read", bad)
		}
	}
}
