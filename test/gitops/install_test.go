// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gitops

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

// installLimit is for everything at once on an empty cluster, with Argo CD's pauses between retries.
const installLimit = 3 * time.Minute

// allAtOnce gives Argo CD the Memcaches before the operator that they need.
func allAtOnce(t *testing.T) {
	objects, err := projects()
	check(t, err)
	for _, m := range modes {
		app, err := cachesApplication(m)
		check(t, err)
		objects = append(objects, app)
	}
	operator, err := operatorApplication()
	check(t, err)
	start := time.Now()
	check(t, applyAll(t.Context(), append(objects, operator)...))
	for _, app := range append([]string{operatorApp}, appsOf(modes)...) {
		untilWell(t, app, "", installLimit)
		t.Logf("FIGURE %s is Synced and Healthy after %.1f s", app, time.Since(start).Seconds())
	}
	for _, m := range modes {
		for _, name := range []string{"sessions", "autoscaled", "spare", "odd"} {
			mc := &memkeepv1alpha1.Memcache{}
			check(t, cluster.Get(t.Context(), keyOf(m.namespace, name), mc))
			if err := harness.FleetState(mc); err != nil {
				t.Errorf("the Application is Healthy, and %s/%s is not ready: %v", m.namespace, name, err)
			}
		}
	}
}

func appsOf(modes []mode) []string {
	var names []string
	for _, m := range modes {
		names = append(names, m.app)
	}
	return names
}

// operatorApplication is the example for the local repository and the images at hand.
func operatorApplication() (*unstructured.Unstructured, error) {
	objects, err := example("operator.yaml")
	if err != nil || len(objects) != 1 {
		return nil, fmt.Errorf("the example has %d objects: %w", len(objects), err)
	}
	app := objects[0]
	if err := unstructured.SetNestedField(app.Object, "file://"+repos.platform.path,
		"spec", "source", "repoURL"); err != nil {
		return nil, err
	}
	refs, err := os.ReadFile(filepath.Join(filepath.Dir(cluster.InstallYAML), "images", "refs"))
	if err != nil {
		return nil, err
	}
	lines := strings.Fields(string(refs))
	for i, value := range []string{"image", "cacheImage"} {
		image, err := imageOf(lines[i])
		if err != nil {
			return nil, err
		}
		if err := unstructured.SetNestedMap(app.Object, image,
			"spec", "source", "helm", "valuesObject", value); err != nil {
			return nil, err
		}
	}
	return app, nil
}

// imageOf splits a reference into the values of the chart.
func imageOf(reference string) (map[string]any, error) {
	name, digest, _ := strings.Cut(reference, "@")
	registry, rest, found := strings.Cut(name, "/")
	if !found {
		return nil, fmt.Errorf("no registry in %q", reference)
	}
	repository, tag, _ := strings.Cut(rest, ":")
	return map[string]any{"registry": registry, "repository": repository, "tag": tag, "digest": digest}, nil
}

// autoscaled: git names no number, the autoscaler's lower bound is two, and
// whoever scales afterwards, as it would, is not overruled by Argo CD.
func autoscaled(t *testing.T, m mode) {
	key := keyOf(m.namespace, "autoscaled")
	replicasAre := func(want int32) {
		t.Helper()
		eventually(t, fmt.Sprintf("%s has %d members", key, want), 2*time.Minute, func(ctx context.Context) error {
			mc := &memkeepv1alpha1.Memcache{}
			if err := cluster.Get(ctx, key, mc); err != nil {
				return err
			}
			if mc.Status.ReadyReplicas != want || *mc.Spec.Replicas != want {
				return fmt.Errorf("%d of %d wanted", mc.Status.ReadyReplicas, *mc.Spec.Replicas)
			}
			return harness.FleetState(mc)
		})
	}
	replicasAre(2)
	mc := &memkeepv1alpha1.Memcache{}
	check(t, cluster.Get(t.Context(), key, mc))
	check(t, cluster.SubResource("scale").Update(t.Context(), mc,
		client.WithSubResourceBody(&autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 3}})))
	replicasAre(3)
	untilWell(t, m.app, "", time.Minute)
}
