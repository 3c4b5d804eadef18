// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gitops

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
)

const (
	sampleEvery = 2 * time.Second
	// hardEvery has Argo CD forget what it remembers and compare from the beginning.
	hardEvery = 20 * time.Second
	// compareEvery is how seldom Argo CD may compare by itself; up.sh has it do so every 5 s.
	compareEvery = 10 * time.Second
)

// watched is what is seen of one Application.
type watched struct {
	name     string
	first    *state
	compared map[string]bool
	// deviations are what was not as it should be, each with the first time that it was seen.
	deviations []string
}

// quiet samples every Application and reports whatever was not Synced and
// Healthy, every sync that was made, and every Memcache that was written.
func quiet(t *testing.T) {
	limit, err := time.ParseDuration(os.Getenv(envQuiet))
	if err != nil {
		t.Fatalf("%s: %v", envQuiet, err)
	}
	for _, m := range modes {
		untilWell(t, m.app, "", time.Minute)
	}
	before := generations(t)
	apps := append([]string{operatorApp}, appsOf(modes)...)
	cluster.Progress("nothing changes for %s", limit)
	for _, w := range watchAll(t, apps, limit) {
		for _, d := range w.deviations {
			t.Errorf("%s: %s", w.name, d)
		}
		if len(w.compared) < int(limit/compareEvery) {
			t.Errorf("%s was compared %d times in %s: nothing is proven", w.name, len(w.compared), limit)
		}
		t.Logf("FIGURE %s stayed Synced and Healthy for %s, compared %d times", w.name, limit, len(w.compared))
	}
	for key, generation := range generations(t) {
		if before[key] != generation {
			t.Errorf("the spec of %s was written: generation %d, before %d", key, generation, before[key])
		}
	}
	for _, m := range modes {
		writers(t, m)
	}
}

// watchAll samples Applications for a time.
func watchAll(t *testing.T, apps []string, limit time.Duration) []*watched {
	t.Helper()
	var all []*watched
	for _, name := range apps {
		all = append(all, &watched{name: name, first: look(t, name), compared: map[string]bool{}})
	}
	start, hard := time.Now(), time.Now()
	for time.Since(start) < limit {
		time.Sleep(sampleEvery)
		again := time.Since(hard) > hardEvery
		for _, w := range all {
			w.sample(t, time.Since(start))
			if again {
				check(t, refresh(t.Context(), w.name, "hard"))
			}
		}
		if again {
			hard = time.Now()
		}
	}
	return all
}

// sample looks once.
func (w *watched) sample(t *testing.T, since time.Duration) {
	t.Helper()
	s := look(t, w.name)
	w.compared[s.ReconciledAt] = true
	var what []string
	if !s.is("Synced", "Healthy") || len(s.Conditions) > 0 {
		what = append(what, s.String())
	}
	for _, r := range s.Resources {
		if r.Status != "Synced" {
			what = append(what, r.Kind+" "+r.Name+" is "+r.Status)
		}
	}
	if s.OperationState.StartedAt != w.first.OperationState.StartedAt {
		what = append(what, "a sync began at "+s.OperationState.StartedAt+": "+s.OperationState.Message)
	}
	if len(what) == 0 {
		return
	}
	text := strings.Join(what, "; ")
	if !slices.ContainsFunc(w.deviations, func(d string) bool { return strings.HasSuffix(d, text) }) {
		w.deviations = append(w.deviations, fmt.Sprintf("after %.0f s: %s", since.Seconds(), text))
	}
}

// generations are those of every Memcache: they count writes of spec.
func generations(t *testing.T) map[string]int64 {
	t.Helper()
	list := &memkeepv1alpha1.MemcacheList{}
	check(t, cluster.List(t.Context(), list))
	out := map[string]int64{}
	for i := range list.Items {
		out[client.ObjectKeyFromObject(&list.Items[i]).String()] = list.Items[i].Generation
	}
	if len(out) != 4*len(modes) {
		t.Fatalf("there are %d Memcaches", len(out))
	}
	return out
}

// writers checks who has written the specs of a mode's Memcaches: Argo CD, and
// for the autoscaled one whoever used the scale subresource.
func writers(t *testing.T, m mode) {
	t.Helper()
	list := &memkeepv1alpha1.MemcacheList{}
	check(t, cluster.List(t.Context(), list, client.InNamespace(m.namespace)))
	for i := range list.Items {
		mc := &list.Items[i]
		for _, f := range mc.ManagedFields {
			if !strings.Contains(f.FieldsV1.GetRawString(), `"f:spec"`) || f.Subresource == "scale" {
				continue
			}
			if !strings.HasPrefix(f.Manager, "argocd-") {
				t.Errorf("%s/%s: %s has written the spec: %s", m.namespace, mc.Name, f.Manager, f.FieldsV1.GetRawString())
			}
		}
		if mc.Name == "autoscaled" && *mc.Spec.Replicas != 3 {
			t.Errorf("%s/%s: somebody fights the autoscaler: %d replicas", m.namespace, mc.Name, *mc.Spec.Replicas)
		}
	}
}

// chartInOtherModes goes from server-side apply with diff, in which the chart
// was for all of the time until now, to the other two.
func chartInOtherModes(t *testing.T) {
	app, _, err := application(t.Context(), operatorApp)
	check(t, err)
	compare := client.RawPatch("application/merge-patch+json",
		[]byte(`{"metadata":{"annotations":{"`+compareOptions+`":null}}}`))
	apply := client.RawPatch("application/merge-patch+json",
		[]byte(`{"spec":{"syncPolicy":{"syncOptions":["CreateNamespace=true"]}}}`))
	for _, change := range []struct {
		name  string
		patch client.Patch
	}{{"server-side", compare}, {"client-side", apply}} {
		t.Run(change.name, func(t *testing.T) {
			check(t, cluster.Patch(t.Context(), app, change.patch))
			check(t, refresh(t.Context(), operatorApp, "hard"))
			time.Sleep(settle)
			w := watchAll(t, []string{operatorApp}, settle)[0]
			for _, d := range w.deviations {
				t.Error(d)
			}
		})
	}
}
