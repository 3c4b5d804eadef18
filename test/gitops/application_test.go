// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gitops

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/harness"
)

const (
	argoNS      = "argocd"
	operatorApp = "memkeep"

	optionServerApply = "ServerSideApply=true"
	compareOptions    = "argocd.argoproj.io/compare-options"

	// tell is how many objects are named at most where many are not well.
	tell = 3
)

// mode is a way in which Argo CD applies and compares.
type mode struct {
	name, namespace, app    string
	serverApply, serverDiff bool
}

// modes are all three, each with an Application and a namespace of its own.
var modes = []mode{
	{"client-side", "shop-client", "shop-client", false, false},
	{"server-side", "shop-server", "shop-server", true, false},
	{"server-side with diff", "shop-diff", "shop-diff", true, true},
}

// state is what an Application says of itself.
type state struct {
	Sync struct {
		Status, Revision string
	}
	Health struct {
		Status string
	}
	ReconciledAt   string
	OperationState struct {
		Phase, Message, StartedAt string
	}
	Conditions []struct{ Type, Message string }
	Resources  []struct {
		Kind, Name, Status string
		Health             struct{ Status, Message string }
	}
	History []history
}

// history is a sync that succeeded.
type history struct{ Revision string }

// String tells what is not well, as short as it can be said.
func (s *state) String() string {
	out := fmt.Sprintf("%s/%s at %.7s", s.Sync.Status, s.Health.Status, s.Sync.Revision)
	others := 0
	for _, r := range s.Resources {
		if r.Status == "Synced" && (r.Health.Status == "" || r.Health.Status == "Healthy") {
			continue
		}
		if others++; others <= tell {
			out += fmt.Sprintf("; %s %s is %s %s %.150s", r.Kind, r.Name, r.Status, r.Health.Status, r.Health.Message)
		}
	}
	if others > tell {
		out += fmt.Sprintf("; and %d others", others-tell)
	}
	for _, c := range s.Conditions {
		out += fmt.Sprintf("; %s: %s", c.Type, c.Message)
	}
	if s.OperationState.Phase != "Succeeded" {
		out += fmt.Sprintf("; last sync %s: %.300s", s.OperationState.Phase, s.OperationState.Message)
	}
	return out
}

// is reports whether the Application is as Argo CD's list shows it.
func (s *state) is(sync, health string) bool {
	return s.Sync.Status == sync && s.Health.Status == health
}

// resource returns what the Application says of one of its objects.
func (s *state) resource(kind, name string) (health, message string) {
	for _, r := range s.Resources {
		if r.Kind == kind && r.Name == name {
			return r.Health.Status, r.Health.Message
		}
	}
	return "", ""
}

func stateOf(app *unstructured.Unstructured) (*state, error) {
	s := &state{}
	data, err := json.Marshal(app.Object["status"])
	if err != nil {
		return nil, err
	}
	return s, json.Unmarshal(data, s)
}

// application reads an Application.
func application(ctx context.Context, name string) (*unstructured.Unstructured, *state, error) {
	app := &unstructured.Unstructured{}
	app.SetAPIVersion("argoproj.io/v1alpha1")
	app.SetKind("Application")
	if err := cluster.Get(ctx, keyOf(argoNS, name), app); err != nil {
		return nil, nil, err
	}
	s, err := stateOf(app)
	return app, s, err
}

// look reads an Application's state.
func look(t *testing.T, name string) *state {
	t.Helper()
	_, s, err := application(t.Context(), name)
	check(t, err)
	return s
}

// until waits until an Application is as cond wants it.
func until(t *testing.T, app, what string, limit time.Duration, cond func(*state) bool) time.Duration {
	t.Helper()
	return eventually(t, "Application "+app+" "+what, limit, func(ctx context.Context) error {
		_, s, err := application(ctx, app)
		if err != nil {
			return err
		}
		if !cond(s) {
			return errors.New(s.String())
		}
		return nil
	})
}

// untilWell waits until an Application is Synced and Healthy, at a revision if one is given.
func untilWell(t *testing.T, app, revision string, limit time.Duration) time.Duration {
	t.Helper()
	return until(t, app, "Synced and Healthy", limit, func(s *state) bool {
		return s.is("Synced", "Healthy") && (revision == "" || s.Sync.Revision == revision)
	})
}

// refresh has Argo CD ask git and compare now: normal, or hard, without what it remembers.
func refresh(ctx context.Context, app, how string) error {
	o, _, err := application(ctx, app)
	if err != nil {
		return err
	}
	patch := fmt.Sprintf(`{"metadata":{"annotations":{"argocd.argoproj.io/refresh":%q}}}`, how)
	return cluster.Patch(ctx, o, client.RawPatch("application/merge-patch+json", []byte(patch)))
}

// example reads the objects of a file of the examples.
func example(file string) ([]*unstructured.Unstructured, error) {
	return harness.ReadManifests(examples + "/" + file)
}

// projects are those of the examples, for the local repositories.
func projects() ([]*unstructured.Unstructured, error) {
	objects, err := example("projects.yaml")
	for _, o := range objects {
		if err := unstructured.SetNestedStringSlice(o.Object, []string{"file://" + repos.root + "/*"},
			"spec", "sourceRepos"); err != nil {
			return nil, err
		}
	}
	return objects, err
}

// cachesApplication is the example for a mode.
func cachesApplication(m mode) (*unstructured.Unstructured, error) {
	objects, err := example("caches.yaml")
	if err != nil || len(objects) != 1 {
		return nil, fmt.Errorf("the example has %d objects: %w", len(objects), err)
	}
	app := objects[0]
	app.SetName(m.app)
	options, _, _ := unstructured.NestedStringSlice(app.Object, "spec", "syncPolicy", "syncOptions")
	before := len(options)
	if !m.serverApply {
		options = slices.DeleteFunc(options, func(s string) bool { return s == optionServerApply })
		if len(options) != before-1 {
			return nil, fmt.Errorf("the example has no option %s", optionServerApply)
		}
	}
	if annotations := app.GetAnnotations(); !m.serverDiff {
		if !strings.Contains(annotations[compareOptions], "ServerSideDiff=true") {
			return nil, errors.New("the example does not compare on the server")
		}
		delete(annotations, compareOptions)
		app.SetAnnotations(annotations)
	}
	return app, errors.Join(
		unstructured.SetNestedStringSlice(app.Object, options, "spec", "syncPolicy", "syncOptions"),
		unstructured.SetNestedField(app.Object, "file://"+repos.teams[m.name].path, "spec", "source", "repoURL"),
		unstructured.SetNestedField(app.Object, m.namespace, "spec", "destination", "namespace"))
}

// applyAll applies what a user would apply.
func applyAll(ctx context.Context, objects ...*unstructured.Unstructured) error {
	return cluster.ApplyAll(ctx, "gitops-test", objects)
}

// deleteApplications deletes them and waits until all that they brought is deleted.
func deleteApplications(t *testing.T, names ...string) time.Duration {
	t.Helper()
	start := time.Now()
	for _, name := range names {
		app, _, err := application(t.Context(), name)
		check(t, err)
		check(t, cluster.Delete(t.Context(), app))
	}
	for _, name := range names {
		app := &unstructured.Unstructured{}
		app.SetAPIVersion("argoproj.io/v1alpha1")
		app.SetKind("Application")
		app.SetName(name)
		app.SetNamespace(argoNS)
		check(t, cluster.Gone(t.Context(), app, 2*time.Minute))
	}
	return time.Since(start)
}
