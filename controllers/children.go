// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// fieldOwner is the field manager of everything that the operator applies.
const fieldOwner = client.FieldOwner(v1alpha1.ManagedBy)

// child is one object of a fleet: how it should be, and how to read, compare
// and write it. Its functions hide the kind's own types.
type child struct {
	kind string
	// object is what the API server has; empty until found.
	object client.Object
	// create returns the typed object that a create sends.
	create func() (client.Object, error)
	// bound returns the configuration to apply to the object with this UID only.
	bound func(types.UID) runtime.ApplyConfiguration
	// current tells whether everything that we apply is in object as ours.
	current func() (bool, error)
}

// configuration is a typed apply configuration of the kind T.
type configuration[T any] interface {
	runtime.ApplyConfiguration
	WithUID(types.UID) T
}

// childOf describes a child by its kind's object, the wanted configuration and
// the function that extracts what was applied before.
func childOf[T configuration[T], O client.Object](
	kind string, object O, build func() T, extract func(O, string) (T, error),
) *child {
	return &child{
		kind:   kind,
		object: object,
		create: func() (client.Object, error) {
			data, err := json.Marshal(build())
			if err != nil {
				return nil, fmt.Errorf("encode %s: %w", kind, err)
			}
			out := reflect.New(reflect.TypeOf(object).Elem()).Interface().(client.Object)
			if err := json.Unmarshal(data, out); err != nil {
				return nil, fmt.Errorf("decode %s: %w", kind, err)
			}
			return out, nil
		},
		bound: func(uid types.UID) runtime.ApplyConfiguration { return build().WithUID(uid) },
		current: func() (bool, error) {
			was, err := extract(object, v1alpha1.ManagedBy)
			if err != nil {
				return false, fmt.Errorf("extract what was applied to %s: %w", kind, err)
			}
			return sameConfiguration(was, build())
		},
	}
}

// sameConfiguration compares two configurations by what would go over the wire.
func sameConfiguration(a, b any) (bool, error) {
	left, err := normal(a)
	if err != nil {
		return false, err
	}
	right, err := normal(b)
	if err != nil {
		return false, err
	}
	return reflect.DeepEqual(left, right), nil
}

// normal returns a configuration as plain JSON values. Owners are a set; the
// garbage collector may have reordered them.
func normal(configuration any) (map[string]any, error) {
	data, err := json.Marshal(configuration)
	if err != nil {
		return nil, fmt.Errorf("encode configuration: %w", err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		return nil, fmt.Errorf("decode configuration: %w", err)
	}
	if meta, ok := out["metadata"].(map[string]any); ok {
		if owners, ok := meta["ownerReferences"].([]any); ok {
			slices.SortFunc(owners, func(a, b any) int {
				return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
			})
		}
	}
	return out, nil
}

// presence says what was found under a child's name.
type presence int

const (
	absent presence = iota
	// ours is controlled by this very Memcache.
	ours
	// leaving is ours, or an earlier Memcache's of the same name, and on its way out.
	leaving
	// foreign belongs to somebody else.
	foreign
)

// find looks for the child in the cache, which holds only what carries our
// label, and then, where nothing is there, at the API server.
func (r *Reconciler) find(ctx context.Context, m *v1alpha1.Memcache, c *child, name string) (presence, error) {
	key := types.NamespacedName{Namespace: m.Namespace, Name: name}
	err := r.Client.Get(ctx, key, c.object)
	if apierrors.IsNotFound(err) {
		err = r.APIReader.Get(ctx, key, c.object)
	}
	switch {
	case apierrors.IsNotFound(err):
		return absent, nil
	case err != nil:
		return absent, fmt.Errorf("get %s %s: %w", c.kind, name, err)
	}
	controller := metav1.GetControllerOf(c.object)
	switch {
	case controller == nil:
		return foreign, nil
	case controller.UID == m.UID && c.object.GetDeletionTimestamp().IsZero():
		return ours, nil
	case controller.UID == m.UID, formerly(controller, m):
		return leaving, nil
	}
	return foreign, nil
}

// formerly tells whether a controller is a Memcache of m's name that is no
// more: the garbage collector is about to delete what it owned.
func formerly(controller *metav1.OwnerReference, m *v1alpha1.Memcache) bool {
	return controller.Kind == "Memcache" && controller.Name == m.Name &&
		controller.APIVersion == v1alpha1.GroupVersion.String()
}

// put brings a child that is absent or ours to what it should be, and tells
// whether anything was written. An absent child is created, never applied: a
// create fails where something was planted in between, an apply would adopt it.
// Every apply is bound to the UID that was seen, for the same reason.
func (r *Reconciler) put(ctx context.Context, found presence, c *child) (bool, error) {
	if found == absent {
		object, err := c.create()
		if err != nil {
			return false, err
		}
		if err := r.Client.Create(ctx, object, fieldOwner); err != nil {
			return false, fmt.Errorf("create %s %s: %w", c.kind, object.GetName(), err)
		}
		c.object = object
	} else {
		current, err := c.current()
		if err != nil {
			return false, err
		}
		drifted, err := foreignSpec(c.object.GetManagedFields())
		if err != nil {
			return false, fmt.Errorf("read managed fields of %s %s: %w", c.kind, c.object.GetName(), err)
		}
		if current && !drifted {
			return false, nil
		}
		if err := r.takeOver(ctx, c); err != nil {
			return false, err
		}
	}
	if err := r.Client.Apply(ctx, c.bound(c.object.GetUID()), fieldOwner, client.ForceOwnership); err != nil {
		return false, fmt.Errorf("apply %s %s: %w", c.kind, c.object.GetName(), err)
	}
	return true, nil
}

// failure sorts an API error into what follows from it.
type failure int

const (
	// transient is tried again with backoff.
	transient failure = iota
	// raced means that somebody else was faster; the next pass sees the result.
	raced
	// refused means that quota, admission or validation says no.
	refused
	// closing means that the namespace is being deleted.
	closing
)

func classify(err error) failure {
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return closing
	case apierrors.IsConflict(err), apierrors.IsAlreadyExists(err):
		return raced
	case apierrors.IsForbidden(err), apierrors.IsInvalid(err):
		return refused
	}
	return transient
}
