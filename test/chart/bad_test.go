// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build chart

package chart

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadValuesAreRefusedByName renders values that are wrong, each with both
// Helms, and asks for a sentence that names the value.
func TestBadValuesAreRefusedByName(t *testing.T) {
	tests := map[string]struct {
		values string
		// want are what the message has to hold.
		want []string
	}{
		"an unknown key":            {"replica: 3", []string{"'replica' not allowed"}},
		"an unknown key in a group": {"crds: {kep: true}", []string{"/crds", "'kep' not allowed"}},
		"an unknown policy": {
			"admission: {policies: {pod: Deny}}",
			[]string{"/admission/policies", "'pod' not allowed"},
		},
		"an unknown resource": {
			"resources: {request: {cpu: 1}}",
			[]string{"/resources", "'request' not allowed"},
		},
		"a number as text": {
			"replicas: two",
			[]string{"/replicas", "got string, want integer"},
		},
		"too few":  {"replicas: 0", []string{"/replicas", "minimum"}},
		"too many": {"replicas: 6", []string{"/replicas", "maximum"}},
		"text for a truth": {
			"crds: {keep: sometimes}",
			[]string{"/crds/keep", "got string, want boolean"},
		},
		"a list for text": {
			"image: {tag: [a]}",
			[]string{"/image/tag", "got array, want string"},
		},
		"a mode that is none": {
			"admission: {policies: {pods: deny}}",
			[]string{"/admission/policies/pods", "'Deny', 'Warn', 'Audit', 'Disabled'"},
		},
		"a digest that is none": {
			"image: {digest: latest}",
			[]string{"/image/digest", "does not match pattern"},
		},
		"a period that is none": {
			"podMonitor: {interval: often}",
			[]string{"/podMonitor/interval", "does not match pattern"},
		},
		"a port that is none": {
			"networkPolicy: {egress: {apiServerPorts: [0]}}",
			[]string{"/networkPolicy/egress/apiServerPorts/0"},
		},
		"namespaces as text": {
			"watchNamespaces: a,b",
			[]string{"/watchNamespaces", "got string, want array"},
		},
		"a namespace twice": {
			"watchNamespaces: [a, a]",
			[]string{"/watchNamespaces", "equal"},
		},
		"an object without kind": {
			"extraObjects: [{apiVersion: v1}]",
			[]string{"/extraObjects/0", "kind"},
		},
		"the operator's namespace": {
			"watchNamespaces: [memkeep-system]",
			[]string{"watchNamespaces: memkeep-system belongs to the operator"},
		},
		"the outsiders' namespace": {
			"watchNamespaces: [memkeep-system-outsider]",
			[]string{"watchNamespaces: memkeep-system-outsider belongs"},
		},
		"a namespace that is no name": {
			"watchNamespaces: [Team_A]",
			[]string{`watchNamespaces: "Team_A" is not a namespace's name`},
		},
		"no reader for all": {
			"rbac: {clusterReader: false}",
			[]string{"rbac.clusterReader: false needs watchNamespaces"},
		},
		"rights for everybody": {
			"serviceAccount: {create: false, name: default}",
			[]string{"serviceAccount.name: default would give"},
		},
		"a label that selects": {
			"podLabels: {memkeep.io/component: x}",
			[]string{"podLabels: memkeep.io/component is what"},
		},
		"a label that admits": {
			"commonLabels: {client.memkeep.io/a.b: 'true'}",
			[]string{"commonLabels: client.memkeep.io/a.b says who"},
		},
		"a monitor without metrics": {
			"podMonitor: {enabled: true, tokenSecret: {name: x}}\nmetrics: {enabled: false}",
			[]string{"podMonitor.enabled: true contradicts metrics.enabled: false"},
		},
		"a monitor without a token": {
			"podMonitor: {enabled: true}",
			[]string{"needs podMonitor.tokenSecret.name"},
		},
		"egress without a policy": {
			"networkPolicy: {enabled: false, egress: {enabled: true}}",
			[]string{"networkPolicy.egress.enabled: true contradicts"},
		},
		"a guard without guards": {
			"admission: {enabled: false, policies: {access: Deny}}",
			[]string{"admission.policies.access: Deny contradicts"},
		},
		"an allowed image with tag": {
			"cacheImage: {alsoAllowed: ['example.com/cache:v1']}",
			[]string{`cacheImage.alsoAllowed: "example.com/cache:v1"`},
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "values.yaml")
			if err := os.WriteFile(file, []byte(c.values+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			for _, helm := range helms {
				out, err := try(t, helm, "-f", file)
				if err == nil {
					t.Errorf("%s rendered %d bytes", helm, len(out))
					continue
				}
				for _, want := range c.want {
					if !strings.Contains(err.Error(), want) {
						t.Errorf("%s: got %q, want %q", helm, err, want)
					}
				}
				if helm.Major == 4 {
					t.Log(message(err))
				}
			}
		})
	}
	t.Run("a namespace that is too long", func(t *testing.T) {
		long := strings.Repeat("n", 49)
		_, err := helms[0].Run(t.Context(), "template", release, chart, "--namespace", long)
		if err == nil || !strings.Contains(err.Error(), "the namespace "+long+" is too long") {
			t.Errorf("got %v", err)
		}
	})
}

// message is the line that matters of what Helm says.
func message(err error) string {
	var out []string
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(line)
		switch {
		case strings.HasPrefix(line, "- at "):
			out = append(out, line)
		case strings.Contains(line, "): "):
			out = append(out, line[strings.LastIndex(line, "): ")+3:])
		}
	}
	return strings.Join(out, "; ")
}
