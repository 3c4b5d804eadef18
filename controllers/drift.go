// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// A server-side apply corrects the fields that it names and leaves alone the
// rest, so a rule added to a policy that has none, or a container added to the
// pod template, would stay. Whoever wrote such a field is in managedFields as
// its owner. Those fields are handed to our own entry; the apply that follows
// does not name them, and so removes them.

// foreignSpec tells whether somebody else owns a field of the spec that we do
// not apply.
func foreignSpec(entries []metav1.ManagedFieldsEntry) (bool, error) {
	own, others := fieldpath.NewSet(), fieldpath.NewSet()
	for i := range entries {
		e := &entries[i]
		if e.Subresource != "" || e.Manager == v1alpha1.ManagedBy && !isApply(e) {
			continue
		}
		spec, _, err := splitSpec(e)
		if err != nil {
			return false, err
		}
		if isOwn(e) {
			own = own.Union(spec)
		} else {
			others = others.Union(spec)
		}
	}
	return !others.Difference(own).Empty(), nil
}

// handOver returns entries with every field of the spec, and all that our own
// create set, moved to the entry of our applies. It answers false when there is
// nothing to move.
func handOver(entries []metav1.ManagedFieldsEntry) ([]metav1.ManagedFieldsEntry, bool, error) {
	var own *metav1.ManagedFieldsEntry
	moved := fieldpath.NewSet()
	var rest []metav1.ManagedFieldsEntry
	for i := range entries {
		e := entries[i].DeepCopy()
		switch {
		case e.Subresource != "":
			rest = append(rest, *e)
		case isOwn(e):
			own = e
		default:
			spec, other, err := splitSpec(e)
			if err != nil {
				return nil, false, err
			}
			moved = moved.Union(spec)
			if e.Manager == v1alpha1.ManagedBy {
				moved = moved.Union(other)
				continue
			}
			if other.Empty() {
				continue
			}
			if err := setFields(e, other); err != nil {
				return nil, false, err
			}
			rest = append(rest, *e)
		}
	}
	if moved.Empty() || own == nil {
		return entries, false, nil
	}
	fields, err := getFields(own)
	if err != nil {
		return nil, false, err
	}
	if err := setFields(own, fields.Union(moved)); err != nil {
		return nil, false, err
	}
	return append(rest, *own), true, nil
}

// takeOver makes us the one owner of the child's spec at the API server.
func (r *Reconciler) takeOver(ctx context.Context, c *child) error {
	entries, changed, err := handOver(c.object.GetManagedFields())
	if err != nil {
		return fmt.Errorf("read managed fields of %s %s: %w", c.kind, c.object.GetName(), err)
	}
	if !changed {
		return nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid":             c.object.GetUID(),
		"resourceVersion": c.object.GetResourceVersion(),
		"managedFields":   entries,
	}})
	if err != nil {
		return fmt.Errorf("encode managed fields: %w", err)
	}
	object := c.object.DeepCopyObject().(client.Object)
	if err := r.Client.Patch(ctx, object, client.RawPatch(types.MergePatchType, patch), fieldOwner); err != nil {
		return fmt.Errorf("take over %s %s: %w", c.kind, c.object.GetName(), err)
	}
	return nil
}

func isApply(e *metav1.ManagedFieldsEntry) bool {
	return e.Operation == metav1.ManagedFieldsOperationApply
}

func isOwn(e *metav1.ManagedFieldsEntry) bool {
	return e.Manager == v1alpha1.ManagedBy && isApply(e)
}

// splitSpec divides an entry's fields into those of the spec and the others.
func splitSpec(e *metav1.ManagedFieldsEntry) (spec, other *fieldpath.Set, err error) {
	fields, err := getFields(e)
	if err != nil {
		return nil, nil, err
	}
	spec, other = fieldpath.NewSet(), fieldpath.NewSet()
	fields.Iterate(func(p fieldpath.Path) {
		if len(p) > 0 && p[0].FieldName != nil && *p[0].FieldName == "spec" {
			spec.Insert(p.Copy())
		} else {
			other.Insert(p.Copy())
		}
	})
	return spec, other, nil
}

func getFields(e *metav1.ManagedFieldsEntry) (*fieldpath.Set, error) {
	set := fieldpath.NewSet()
	if e.FieldsV1 == nil {
		return set, nil
	}
	if err := set.FromJSON(e.FieldsV1.GetRawReader()); err != nil {
		return nil, fmt.Errorf("decode fields of %s: %w", e.Manager, err)
	}
	return set, nil
}

func setFields(e *metav1.ManagedFieldsEntry, set *fieldpath.Set) error {
	data, err := set.ToJSON()
	if err != nil {
		return fmt.Errorf("encode fields of %s: %w", e.Manager, err)
	}
	e.FieldsV1 = &metav1.FieldsV1{}
	e.FieldsV1.SetRawBytes(bytes.Clone(data))
	return nil
}
