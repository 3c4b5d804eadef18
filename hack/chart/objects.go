// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"
)

// sources are the folders of config/ by the chart's folder that they go to.
// What is bound or judged is not copied but put together: see rules and admission.
var sources = map[string][]string{
	"crd":            {"crd/bases"},
	"manager":        {"manager"},
	"network-policy": {"network-policy", "network-policy/egress"},
	"prober":         {"prober"},
	"rbac":           {"rbac"},
	"admission":      {"admission", "admission/access"},
}

// notInChart are the objects that a release does without, or gets otherwise.
var notInChart = map[string]string{
	"Namespace memkeep-system":           "Helm makes the release's namespace",
	"ClusterRole memkeep-manager":        "templates/rbac.yaml makes it of the rules",
	"Role memkeep-manager":               "templates/rbac.yaml makes it of the rules",
	"ClusterRoleBinding memkeep-manager": "templates/rbac.yaml makes it",
	"RoleBinding memkeep-manager":        "templates/rbac.yaml makes it",
}

func newDecoder(from io.Reader) *yaml.YAMLOrJSONDecoder { return yaml.NewYAMLOrJSONDecoder(from, 4096) }

// object is one of config/'s.
type object struct {
	kind, name string
	content    document
}

// read returns the objects of a folder of config/, those of its kustomizations left out.
func read(folder string) ([]object, error) {
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", folder, err)
	}
	var out []object
	for _, path := range paths {
		if filepath.Base(path) == "kustomization.yaml" {
			continue
		}
		found, err := documents(path)
		if err != nil {
			return nil, err
		}
		for _, d := range found {
			kind, _ := d["kind"].(string)
			meta, _ := d["metadata"].(document)
			name, _ := meta["name"].(string)
			if kind == "" || name == "" {
				return nil, fmt.Errorf("%s has a document without kind or name", path)
			}
			out = append(out, object{kind: kind, name: name, content: d})
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no objects", folder)
	}
	return out, nil
}

// files are the chart's files/ by their path there.
func files(config, reader string) (map[string][]byte, error) {
	out := map[string][]byte{}
	for _, target := range slices.Sorted(maps.Keys(sources)) {
		var all []object
		for _, source := range sources[target] {
			found, err := read(filepath.Join(config, source))
			if err != nil {
				return nil, err
			}
			all = append(all, found...)
		}
		var err error
		switch target {
		case "admission":
			err = admission(out, all)
		case "rbac":
			err = errors.Join(rules(out, all, reader), plain(out, target, all))
		default:
			err = plain(out, target, all)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// plain copies objects, each into a file of its own. Roles of users, which
// nothing decides but one value, lie together.
func plain(out map[string][]byte, target string, all []object) error {
	for _, o := range all {
		if _, not := notInChart[o.kind+" "+o.name]; not {
			continue
		}
		folder := target
		if o.kind == "ClusterRole" {
			folder = "users"
		}
		path := folder + "/" + strings.ToLower(o.kind) + "-" + strings.TrimPrefix(o.name, "memkeep-") + ".yaml"
		if err := put(out, path, o.content); err != nil {
			return err
		}
	}
	return nil
}

// admission writes each policy with its binding, and the value that decides its mode.
func admission(out map[string][]byte, all []object) error {
	pairs := map[string]document{}
	for _, o := range all {
		name := strings.TrimPrefix(o.name, "memkeep-")
		if pairs[name] == nil {
			pairs[name] = document{"value": camel(name)}
		}
		switch o.kind {
		case "ValidatingAdmissionPolicy":
			pairs[name]["policy"] = o.content
		case "ValidatingAdmissionPolicyBinding":
			pairs[name]["binding"] = o.content
		default:
			return fmt.Errorf("admission: no place in the chart for %s %s", o.kind, o.name)
		}
	}
	for name, pair := range pairs {
		if len(pair) != 3 {
			return fmt.Errorf("admission: the policy memkeep-%s has no binding of its name, or the other way round", name)
		}
		if err := put(out, "admission/"+name+".yaml", pair); err != nil {
			return err
		}
	}
	return nil
}

// camel writes a-name as aName.
func camel(name string) string {
	words := strings.Split(name, "-")
	for i, w := range words[1:] {
		words[i+1] = strings.ToUpper(w[:1]) + w[1:]
	}
	return strings.Join(words, "")
}

// put adds a generated file.
func put(out map[string][]byte, path string, content any) error {
	raw, err := sigsyaml.Marshal(content)
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	if out[path] != nil {
		return fmt.Errorf("two objects go to files/%s", path)
	}
	out[path] = append([]byte("# From config/, by `make generate`.\n"), raw...)
	return nil
}

// rule is a rule of a role.
type rule struct {
	APIGroups       []string `json:"apiGroups,omitempty"`
	NonResourceURLs []string `json:"nonResourceURLs,omitempty"`
	Resources       []string `json:"resources,omitempty"`
	ResourceNames   []string `json:"resourceNames,omitempty"`
	Verbs           []string `json:"verbs"`
}

// role is a role or ClusterRole.
type role struct {
	Rules []rule `json:"rules"`
}

// roleSet are the operator's rights in the ways that a release gives them.
type roleSet struct {
	// Cluster are those of an operator that keeps every namespace.
	Cluster []rule `json:"cluster"`
	// Own are those in its own namespace.
	Own []rule `json:"own"`
	// Namespaced are those in each watched namespace, Outsiders those in the
	// probers', Reviews and Reader those in the cluster, of one that keeps some.
	Namespaced []rule `json:"namespaced"`
	Outsiders  []rule `json:"outsiders"`
	Reviews    []rule `json:"reviews"`
	Reader     []rule `json:"reader"`
}

// rules takes the operator's generated roles apart.
func rules(out map[string][]byte, all []object, reader string) error {
	var set roleSet
	for _, o := range all {
		to := map[string]*[]rule{
			"ClusterRole memkeep-manager": &set.Cluster, "Role memkeep-manager": &set.Own,
		}[o.kind+" "+o.name]
		if to == nil {
			continue
		}
		if err := into(o.content, to); err != nil {
			return err
		}
	}
	found, err := documents(reader)
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("%s has %d roles", reader, len(found))
	}
	if err := into(found[0], &set.Reader); err != nil {
		return err
	}
	set.divide()
	return put(out, "rbac/rules.yaml", set)
}

// into reads a role's rules.
func into(d document, to *[]rule) error {
	raw, err := sigsyaml.Marshal(d)
	if err != nil {
		return fmt.Errorf("write a role: %w", err)
	}
	var r role
	if err := sigsyaml.Unmarshal(raw, &r); err != nil {
		return fmt.Errorf("read a role: %w", err)
	}
	if len(r.Rules) == 0 {
		return errors.New("a role has no rules")
	}
	*to = r.Rules
	return nil
}

// divide gives each right of the whole cluster to the roles that an operator
// with watched namespaces has in its place.
func (s *roleSet) divide() {
	for _, r := range s.Cluster {
		switch {
		case slices.Contains([]string{"authentication.k8s.io", "authorization.k8s.io"}, r.APIGroups[0]):
			s.Reviews = append(s.Reviews, r)
		case slices.Equal(r.Verbs, []string{"list", "watch"}):
			// Read in every namespace or not at all: the reader's.
		default:
			s.Namespaced = append(s.Namespaced, r)
		}
		for _, resource := range r.Resources {
			if r.APIGroups[0] != "" || resource != "configmaps" && resource != "pods" {
				continue
			}
			few := rule{APIGroups: r.APIGroups, Resources: []string{resource}}
			for _, verb := range r.Verbs {
				if verb != "delete" {
					few.Verbs = append(few.Verbs, verb)
				}
			}
			s.Outsiders = append(s.Outsiders, few)
		}
	}
	slices.SortFunc(s.Outsiders, func(a, b rule) int { return cmp.Compare(a.Resources[0], b.Resources[0]) })
}
