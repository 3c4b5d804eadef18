// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// reviewer answers questions about rights by the verb.
type reviewer struct {
	client.Writer
	allowed map[string]bool
	err     error
}

func (r reviewer) Create(_ context.Context, object client.Object, _ ...client.CreateOption) error {
	review, ok := object.(*authorizationv1.SelfSubjectAccessReview)
	if !ok || review.Spec.ResourceAttributes.Resource != "pods" || review.Spec.ResourceAttributes.Namespace != "" {
		return errors.New("that is not what is to be asked")
	}
	review.Status.Allowed = r.allowed[review.Spec.ResourceAttributes.Verb]
	return r.err
}

func TestWhetherPodsMayBeWatched(t *testing.T) {
	both := map[string]bool{"list": true, "watch": true}
	f := func(name string, r reviewer, want, fails bool) {
		t.Helper()
		t.Run(name, func(t *testing.T) {
			got, err := mayWatchPods(t.Context(), r)
			if got != want || (err != nil) != fails {
				t.Errorf("got %v, %v", got, err)
			}
		})
	}
	f("who may list and watch may", reviewer{allowed: both}, true, false)
	f("who may only list may not", reviewer{allowed: map[string]bool{"list": true}}, false, false)
	f("who may only watch may not", reviewer{allowed: map[string]bool{"watch": true}}, false, false)
	f("who may not even ask may not", reviewer{
		allowed: both,
		err:     apierrors.NewForbidden(schema.GroupResource{Resource: "selfsubjectaccessreviews"}, "", nil),
	}, false, false)
	f("an answer that does not come is an error", reviewer{allowed: both, err: errors.New("no route")}, false, true)
}
