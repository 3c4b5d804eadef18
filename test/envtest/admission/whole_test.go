// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestEveryPolicyIsWhole looks at what is shipped, and at what the API server
// says of the expressions' types.
func TestEveryPolicyIsWhole(t *testing.T) {
	if len(shipped) != 12 {
		t.Errorf("got %d policies: %v", len(shipped), shipped)
	}
	docs, err := os.ReadFile(filepath.Join(root, "docs/admission.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range shipped {
		if !strings.Contains(string(docs), "\n| `"+name+"`") {
			t.Errorf("docs/admission.md has no row about %s", name)
		}
		policy := &admissionregistrationv1.ValidatingAdmissionPolicy{}
		policy.Name = name
		err := eventually(t.Context(), "the types of "+name+" to be checked", func() error {
			if err := kube.Get(t.Context(), client.ObjectKeyFromObject(policy), policy); err != nil {
				return err
			}
			if policy.Status.TypeChecking == nil || policy.Status.ObservedGeneration != policy.Generation {
				return errNotYet
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, w := range policy.Status.TypeChecking.ExpressionWarnings {
			t.Errorf("%s %s: %s", name, w.FieldRef, w.Warning)
		}
		want := admissionregistrationv1.Fail
		if name == beside {
			want = admissionregistrationv1.Ignore
		}
		if *policy.Spec.FailurePolicy != want {
			t.Errorf("%s: failurePolicy %s, want %s", name, *policy.Spec.FailurePolicy, want)
		}
		for i, v := range policy.Spec.Validations {
			if v.Message == "" || v.MessageExpression == "" || v.Reason == nil {
				t.Errorf("%s: validation %d lacks a message, a messageExpression or a reason", name, i)
			}
		}
		binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}
		if err := kube.Get(t.Context(), client.ObjectKeyFromObject(policy), binding); err != nil {
			t.Errorf("no binding of the policy's own name: %v", err)
		} else if !slices.Equal(binding.Spec.ValidationActions, []admissionregistrationv1.ValidationAction{"Deny"}) {
			t.Errorf("%s: actions %v, want Deny alone", name, binding.Spec.ValidationActions)
		}
	}
}

// TestTheShippedImageIsAllowed holds the Deployment and the policy together.
func TestTheShippedImageIsAllowed(t *testing.T) {
	objects, err := build("config/default")
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range objects {
		if u.GetKind() != "Deployment" {
			continue
		}
		deployment := &appsv1.Deployment{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, deployment); err != nil {
			t.Fatal(err)
		}
		for _, env := range deployment.Spec.Template.Spec.Containers[0].Env {
			if env.Name == "CACHE_IMAGE" {
				try(t, []row{{"it passes", operator, creates(set(image + "=>" + env.Value)), "", ""}})
				return
			}
		}
	}
	t.Error("the installation has no CACHE_IMAGE")
}
