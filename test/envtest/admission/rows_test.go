// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// row is a request that somebody makes.
type row struct {
	name string
	user string
	do   func(context.Context, client.Client) error
	// policy is the one that refuses; empty when the request passes.
	policy string
	// says are words of the refusal, with a blank between.
	says string
}

var errNotYet = errors.New("not yet")

// samples are requests that one policy refuses, for the tests of its actions.
var samples = map[string]row{}

// filtered reports whether only some of the tests were asked for.
func filtered() bool {
	return flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != ""
}

// try makes each row's request and compares.
func try(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			c, err := as(r.user)
			if err != nil {
				t.Fatal(err)
			}
			judge(t, r, r.do(t.Context(), c))
		})
		if _, there := samples[r.policy]; r.policy != "" && !there {
			samples[r.policy] = r
		}
	}
}

func judge(t *testing.T, r row, err error) {
	t.Helper()
	if r.policy == "" {
		if err != nil {
			t.Errorf("%s: got %v, want it let through", r.user, err)
		}
		return
	}
	if !apierrors.IsForbidden(err) {
		t.Fatalf("%s: got %v, want it forbidden by %s", r.user, err, r.policy)
	}
	// A request that several policies refuse has each one's words among its causes.
	want := "ValidatingAdmissionPolicy '" + r.policy + "' with binding '" + r.policy + "' denied request: "
	if !slices.ContainsFunc(causes(err), func(said string) bool {
		return strings.Contains(said, want) && strings.Contains(said, r.says)
	}) {
		t.Fatalf("%s is told:\n%s\nwant %q and %q", r.user, strings.Join(causes(err), "\n"), want, r.says)
	}
	refused[r.policy] = true
}

// causes are the messages of a refusal.
func causes(err error) []string {
	var all []string
	if status, ok := errors.AsType[*apierrors.StatusError](err); ok && status.ErrStatus.Details != nil {
		for _, cause := range status.ErrStatus.Details.Causes {
			all = append(all, cause.Message)
		}
	}
	return all
}

// refuses reports whether a request is refused, by whatever policy.
func refuses(t *testing.T, user string, do action) bool {
	t.Helper()
	c, err := as(user)
	if err != nil {
		t.Fatal(err)
	}
	return apierrors.IsForbidden(do(t.Context(), c))
}

// store makes an object for the time of a test.
func store(t *testing.T, user, doc string) {
	t.Helper()
	c, err := as(user)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range parse(doc) {
		if err := c.Create(t.Context(), u); err != nil {
			t.Fatalf("create %s %s: %v", u.GetKind(), u.GetName(), err)
		}
		t.Cleanup(func() {
			if err := client.IgnoreNotFound(kube.Delete(context.Background(), u)); err != nil {
				t.Error(err)
			}
		})
	}
}

type action = func(context.Context, client.Client) error

// creates sends an object that is not stored where it passes.
func creates(doc string) action {
	return func(ctx context.Context, c client.Client) error {
		for _, u := range parse(doc) {
			if err := c.Create(ctx, u, client.DryRunAll); err != nil {
				return err
			}
		}
		return nil
	}
}

// applies sends an object as `kubectl apply --server-side` does.
func applies(doc string) action {
	return func(ctx context.Context, c client.Client) error {
		return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(parse(doc)[0]),
			client.DryRunAll, client.FieldOwner("kubectl"), client.ForceOwnership)
	}
}

// patches sends a merge patch of an object, or of one of its subresources.
func patches(kind, namespace, name, subresource, patch string) action {
	return func(ctx context.Context, c client.Client) error {
		object := named(kind, namespace, name)
		raw := client.RawPatch(types.MergePatchType, jsonOf(patch))
		if subresource == "" {
			return c.Patch(ctx, object, raw, client.DryRunAll)
		}
		return c.SubResource(subresource).Patch(ctx, object, raw,
			&client.SubResourcePatchOptions{PatchOptions: client.PatchOptions{DryRun: dry}})
	}
}

// replaces sends a JSON patch that puts a value in the place of another.
func replaces(kind, namespace, name, path, value string) action {
	return func(ctx context.Context, c client.Client) error {
		patch := fmt.Sprintf(`[{"op": "replace", "path": %q, "value": %s}]`, path, value)
		return c.Patch(ctx, named(kind, namespace, name), client.RawPatch(types.JSONPatchType, []byte(patch)),
			client.DryRunAll)
	}
}

// finalizes writes the namespace shop through its finalize subresource.
func finalizes(patch string) action {
	return func(ctx context.Context, c client.Client) error {
		object := named("Namespace", "", "shop")
		if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		merge(object.Object, parse(patch)[0].Object)
		return c.SubResource("finalize").Update(ctx, object,
			&client.SubResourceUpdateOptions{UpdateOptions: client.UpdateOptions{DryRun: dry}})
	}
}

// binds sends a Binding to the binding subresource of the pod web.
func binds(doc string) action {
	return func(ctx context.Context, c client.Client) error {
		return c.SubResource("binding").Create(ctx, named("Pod", "caches", "web"), parse(doc)[0],
			&client.SubResourceCreateOptions{CreateOptions: client.CreateOptions{DryRun: dry}})
	}
}

// updates reads an object, changes it, and writes it whole.
func updates(kind, namespace, name, patch string) action {
	return func(ctx context.Context, c client.Client) error {
		object := named(kind, namespace, name)
		if err := c.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		merge(object.Object, parse(patch)[0].Object)
		return c.Update(ctx, object, client.DryRunAll)
	}
}

// merge is JSON's merge patch.
func merge(into, from map[string]any) {
	for k, v := range from {
		sub, isMap := v.(map[string]any)
		was, wasMap := into[k].(map[string]any)
		switch {
		case v == nil:
			delete(into, k)
		case isMap && wasMap:
			merge(was, sub)
		default:
			into[k] = v
		}
	}
}

func jsonOf(doc string) []byte { return mustJSON(parse(doc)[0].Object) }

func mustJSON(value any) []byte {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	return raw
}
