// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

// pods reads a fleet from a line such as "new old! new~": one word for each
// ordinal, with ! for not ready, ~ for terminating, and - for a missing pod.
func pods(line string) []Pod {
	var out []Pod
	for i, word := range strings.Fields(line) {
		if word == "-" {
			continue
		}
		out = append(out, Pod{
			Name: fmt.Sprintf("p-%d", i), UID: types.UID(fmt.Sprintf("uid-%d", i)), Ordinal: int32(i),
			Revision: strings.TrimRight(word, "!~"), Ready: !strings.ContainsAny(word, "!~"),
			Terminating: strings.Contains(word, "~"),
		})
	}
	return out
}

func TestDecide(t *testing.T) {
	tests := map[string]struct {
		// wanted is the number of pods that should exist.
		wanted int32
		// line is what exists, see pods.
		line string
		// replace is the pod to delete; empty for none.
		replace string
		// waiting is part of what has to happen first.
		waiting string
		// outdated is the number of wanted pods of another revision.
		outdated int
	}{
		"nothing exists":  {0, "", "", "", 0},
		"all are updated": {3, "new new new", "", "", 0},
		"an updated pod that is not ready is left alone":     {3, "new new! new", "", "", 0},
		"the highest ordinal goes first":                     {3, "old old old", "p-2", "", 3},
		"the next goes when the first is ready":              {3, "old old new", "p-1", "", 2},
		"the next waits while the first is not ready":        {3, "old old new!", "", "p-2 is updated", 2},
		"the next waits while the first is missing":          {3, "old old -", "", "2 of 3", 2},
		"the next waits while the first terminates":          {3, "old old old~", "", "p-2 is terminating", 3},
		"the last one goes":                                  {3, "old new new", "p-0", "", 1},
		"a fleet of one is replaced":                         {1, "old", "p-0", "", 1},
		"a broken outdated pod goes before one that serves":  {3, "old! old old", "p-0", "", 3},
		"a broken outdated pod goes while an updated is not": {3, "old! old new!", "p-0", "", 2},
		"broken outdated pods go although one is missing":    {3, "old! old! -", "p-1", "", 2},
		"broken outdated pods go one at a time":              {3, "old! old! old~", "", "p-2 is terminating", 3},
		"an updated pod that terminates is waited for":       {3, "old old new~", "", "p-2 is terminating", 2},
		"pods beyond the wanted ones do not count":           {1, "new old old!", "", "", 0},
		"a terminating pod beyond the wanted does not block": {2, "old new old~", "p-0", "", 1},
		"a missing updated pod blocks nobody when all are":   {3, "new new -", "", "", 0},
		"no pod is wanted":                                   {0, "old old", "", "", 0},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			d := Decide(Fleet{Wanted: c.wanted, Revision: "new", Pods: pods(c.line)})
			got := ""
			if d.Replace != nil {
				got = d.Replace.Name
			}
			if got != c.replace || d.Outdated != c.outdated {
				t.Errorf("replace %q, outdated %d; want %q, %d", got, d.Outdated, c.replace, c.outdated)
			}
			if !strings.Contains(d.Waiting, c.waiting) || (c.waiting == "") != (d.Waiting == "") {
				t.Errorf("waiting %q, want %q", d.Waiting, c.waiting)
			}
		})
	}
}

func TestNothingIsDecidedBeforeTheTemplateIsSeen(t *testing.T) {
	if d := Decide(Fleet{Wanted: 2, Pods: pods("old old")}); d.Replace != nil || d.Outdated != 0 {
		t.Errorf("decided %+v", d)
	}
}

// TestPromisesHoldForEveryFleet states what must hold whatever there is.
func TestPromisesHoldForEveryFleet(t *testing.T) {
	words := []string{"new", "old", "new!", "old!", "new~", "old~", "-"}
	rapid.Check(t, func(t *rapid.T) {
		line := strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 0, 6).Draw(t, "pods"), " ")
		f := Fleet{Wanted: rapid.Int32Range(0, 6).Draw(t, "wanted"), Revision: "new", Pods: pods(line)}
		d := Decide(f)
		if d.Replace == nil {
			if d.Outdated > 0 && d.Waiting == "" {
				t.Fatalf("%d are outdated, nothing is done and nothing is waited for", d.Outdated)
			}
			return
		}
		if d.Replace.Revision == "new" || d.Replace.Terminating || d.Replace.Ordinal >= f.Wanted {
			t.Fatalf("replaced %+v", d.Replace)
		}
		present := int32(0)
		for _, p := range f.Pods {
			if p.Ordinal >= f.Wanted {
				continue
			}
			present++
			if p.Terminating {
				t.Fatalf("replaced %s while %s terminates", d.Replace.Name, p.Name)
			}
			if d.Replace.Ready && !p.Ready {
				t.Fatalf("replaced %s, which serves, while %s does not", d.Replace.Name, p.Name)
			}
		}
		if d.Replace.Ready && present < f.Wanted {
			t.Fatalf("replaced %s, which serves, while pods are missing", d.Replace.Name)
		}
	})
}
