// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gitops

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

const (
	sessionsYAML = "caches/sessions.yaml"
	changeLimit  = 2 * time.Minute
	// lasting is how long an Application is looked at after it was Healthy.
	lasting = 3 * time.Second
)

// arrival is what came of a commit.
type arrival struct {
	took time.Duration
	// seen are the states in their order.
	seen []string
}

// arrives follows an Application from a commit until it is Synced to it and
// Healthy for a while. Each time that it says so, whole must hold.
func arrives(t *testing.T, m mode, revision string, whole func(context.Context) error) arrival {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), changeLimit)
	defer cancel()
	start := time.Now()
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion("argoproj.io/v1alpha1")
	list.SetKind("ApplicationList")
	watcher, err := cluster.Watch(ctx, list, client.InNamespace(argoNS))
	check(t, err)
	defer watcher.Stop()
	check(t, refresh(ctx, m.app, "normal"))
	var out arrival
	var done <-chan time.Time
	for {
		select {
		case event, open := <-watcher.ResultChan():
			if !open {
				t.Fatalf("%s was not Healthy at %.7s within %s; seen: %v", m.app, revision, changeLimit, out.seen)
			}
			app, ok := event.Object.(*unstructured.Unstructured)
			if !ok || app.GetName() != m.app {
				continue
			}
			s, err := stateOf(app)
			check(t, err)
			text := s.Sync.Status + "/" + s.Health.Status
			if s.Sync.Revision != revision {
				text += " (before)"
			}
			if len(out.seen) == 0 || out.seen[len(out.seen)-1] != text {
				out.seen = append(out.seen, text)
			}
			if s.Sync.Revision != revision || !s.is("Synced", "Healthy") {
				done = nil
				continue
			}
			if err := whole(ctx); err != nil {
				t.Errorf("%s says Healthy, and %v; seen: %v", m.app, err, out.seen)
			}
			if done == nil {
				out.took, done = time.Since(start), time.After(lasting)
			}
		case <-done:
			return out
		}
	}
}

// uids are those of a fleet's pods by their names.
func uids(t *testing.T, key client.ObjectKey) map[string]string {
	t.Helper()
	pods, err := cluster.FleetPods(t.Context(), key)
	check(t, err)
	return harness.UIDs(pods)
}

// moreMemory replaces every pod.
func moreMemory(t *testing.T, m mode) {
	key := keyOf(m.namespace, "sessions")
	old := uids(t, key)
	revision := repos.teams[m.name].edit(t, sessionsYAML, "memory: 64Mi", "memory: 80Mi")
	a := arrives(t, m, revision, func(ctx context.Context) error {
		pods, err := fleetOf(ctx, key, 2)
		for name, uid := range old {
			if slices.Contains(pods, uid) {
				return fmt.Errorf("the old %s is there", name)
			}
		}
		return err
	})
	if !slices.Contains(a.seen, "Synced/Progressing") {
		t.Errorf("it was never Progressing: nothing is proven; seen: %v", a.seen)
	}
	t.Logf("FIGURE memory: Healthy %.1f s after the commit; seen: %v", a.took.Seconds(), a.seen)
}

// moreReplicas adds a pod and leaves the others.
func moreReplicas(t *testing.T, m mode) {
	key := keyOf(m.namespace, "sessions")
	old := uids(t, key)
	revision := repos.teams[m.name].edit(t, sessionsYAML, "replicas: 2", "replicas: 3")
	a := arrives(t, m, revision, func(ctx context.Context) error {
		_, err := fleetOf(ctx, key, 3)
		return err
	})
	now := uids(t, key)
	for name, uid := range old {
		if now[name] != uid {
			t.Errorf("%s was replaced, too", name)
		}
	}
	t.Logf("FIGURE replicas: Healthy %.1f s after the commit; seen: %v", a.took.Seconds(), a.seen)
}

// fleetOf returns the UIDs of a fleet's pods, and an error unless there are as
// many as wanted, each of them ready.
func fleetOf(ctx context.Context, key client.ObjectKey, wanted int) ([]string, error) {
	pods, err := cluster.FleetPods(ctx, key)
	if err != nil {
		return nil, err
	}
	var out []string
	for i := range pods {
		if !pods[i].DeletionTimestamp.IsZero() || !harness.Ready(&pods[i]) {
			return nil, fmt.Errorf("%s is not ready", pods[i].Name)
		}
		out = append(out, string(pods[i].UID))
	}
	if len(out) != wanted {
		return nil, fmt.Errorf("there are %d pods of %d", len(out), wanted)
	}
	return out, nil
}

// badMemcache names the operator's own namespace as a client, which the API
// server cannot know to be wrong, and takes it back.
func badMemcache(t *testing.T, m mode) {
	key := keyOf(m.namespace, "sessions")
	before := uids(t, key)
	repo := repos.teams[m.name]
	repo.edit(t, sessionsYAML, "values: [shop-batch]", "values: ["+operatorNS+"]")
	check(t, refresh(t.Context(), m.app, "normal"))
	var said string
	took := until(t, m.app, "Degraded", changeLimit, func(s *state) bool {
		var health string
		health, said = s.resource("Memcache", key.Name)
		return s.is("Synced", "Degraded") && health == "Degraded"
	})
	for _, part := range []string{memkeepv1alpha1.ReasonInvalidSpec, "spec.access.clients[1].namespaceSelector"} {
		if !strings.Contains(said, part) {
			t.Errorf("it says %q: not a word of %s", said, part)
		}
	}
	t.Logf("FIGURE Degraded after %.1f s: %s", took.Seconds(), said)
	revision := repo.edit(t, sessionsYAML, "values: ["+operatorNS+"]", "values: [shop-batch]")
	check(t, refresh(t.Context(), m.app, "normal"))
	untilWell(t, m.app, revision, changeLimit)
	after := uids(t, key)
	if !maps.Equal(before, after) {
		t.Errorf("a bad spec cost pods: %v, before %v", after, before)
	}
}

// editIsHealed opens a fleet by hand, which git does not want.
func editIsHealed(t *testing.T, m mode) {
	key := keyOf(m.namespace, "sessions")
	mc := &memkeepv1alpha1.Memcache{}
	check(t, cluster.Get(t.Context(), key, mc))
	check(t, cluster.Patch(t.Context(), mc, client.RawPatch("application/merge-patch+json",
		[]byte(`{"spec":{"access":{"mode":"Audit"}}}`)), client.FieldOwner("somebody")))
	took := eventually(t, "the edit is healed", time.Minute, func(ctx context.Context) error {
		if err := cluster.Get(ctx, key, mc); err != nil {
			return err
		}
		if mc.Spec.Access.Mode != memkeepv1alpha1.AccessEnforce {
			return fmt.Errorf("the mode is %s", mc.Spec.Access.Mode)
		}
		return harness.FleetState(mc)
	})
	t.Logf("FIGURE an edit by hand is healed after %.1f s", took.Seconds())
	untilWell(t, m.app, "", time.Minute)
}
