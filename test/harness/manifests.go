// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/manifests"
)

// installLimit is how long the operator may take to become available.
const installLimit = 2 * time.Minute

// first are the kinds that others need.
var first = []string{"CustomResourceDefinition", "Namespace"}

// ReadManifests returns the objects of a YAML file, or of every YAML file of a
// folder but its kustomization: what others need comes first.
func ReadManifests(path string) ([]*unstructured.Unstructured, error) {
	paths := []string{path}
	if info, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("read manifests: %w", err)
	} else if info.IsDir() {
		if paths, err = filepath.Glob(filepath.Join(path, "*.yaml")); err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
	}
	var objects []*unstructured.Unstructured
	for _, p := range paths {
		if filepath.Base(p) == "kustomization.yaml" {
			continue
		}
		data, err := os.ReadFile(p)
		if err != nil {
			return nil, fmt.Errorf("read manifests: %w", err)
		}
		found, err := manifests.Parse(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", p, err)
		}
		objects = append(objects, found...)
	}
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int {
		return slices.Index(first, b.GetKind()) - slices.Index(first, a.GetKind())
	})
	return objects, nil
}

// ApplyAll applies objects as the given field manager, in order, and waits for
// the CRDs among them.
func (c *Cluster) ApplyAll(ctx context.Context, manager string, objects []*unstructured.Unstructured) error {
	for _, obj := range objects {
		obj = obj.DeepCopy()
		what := obj.GetKind() + " " + obj.GetName()
		// A namespace that is just going, or a CRD just made, needs a moment.
		_, err := c.Eventually(ctx, "apply "+what, 30*time.Second, func(ctx context.Context) error {
			return c.Apply(ctx, client.ApplyConfigurationFromUnstructured(obj.DeepCopy()),
				client.FieldOwner(manager), client.ForceOwnership)
		})
		if err != nil {
			return err
		}
		if obj.GetKind() != "CustomResourceDefinition" {
			continue
		}
		if err := c.established(ctx, obj.GetName()); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) established(ctx context.Context, name string) error {
	_, err := c.Eventually(ctx, "CRD "+name+" established", 30*time.Second, func(ctx context.Context) error {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := c.Get(ctx, client.ObjectKey{Name: name}, crd); err != nil {
			return err
		}
		for _, cond := range crd.Status.Conditions {
			if cond.Type == apiextensionsv1.Established && cond.Status == apiextensionsv1.ConditionTrue {
				return nil
			}
		}
		return errors.New("not established")
	})
	return err
}

// DeleteAll deletes objects in reverse order and returns without waiting.
func (c *Cluster) DeleteAll(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, obj := range slices.Backward(objects) {
		err := c.Delete(ctx, obj.DeepCopy())
		if meta.IsNoMatchError(err) {
			continue
		}
		if err := client.IgnoreNotFound(err); err != nil {
			return fmt.Errorf("delete %s %s: %w", obj.GetKind(), obj.GetName(), err)
		}
	}
	return nil
}

// Operator is where the operator runs.
type Operator struct {
	// Objects are the objects of the installation.
	Objects []*unstructured.Unstructured
	// Key is the operator's Deployment.
	Key client.ObjectKey
}

// FindOperator reads the installation manifest.
func (c *Cluster) FindOperator() (Operator, error) {
	objects, err := ReadManifests(c.InstallYAML)
	if err != nil {
		return Operator{}, err
	}
	i := slices.IndexFunc(objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" })
	if i < 0 {
		return Operator{}, fmt.Errorf("%s has no Deployment", c.InstallYAML)
	}
	return Operator{Objects: objects, Key: client.ObjectKeyFromObject(objects[i])}, nil
}

// Install applies the installation manifest and waits for the operator.
func (c *Cluster) Install(ctx context.Context) (Operator, time.Duration, error) {
	start := time.Now()
	op, err := c.FindOperator()
	if err != nil {
		return op, 0, err
	}
	if err := c.ApplyAll(ctx, "memkeep-install", op.Objects); err != nil {
		return op, 0, fmt.Errorf("install the operator: %w", err)
	}
	if err := c.OperatorAvailable(ctx, op); err != nil {
		return op, 0, err
	}
	return op, time.Since(start), nil
}

// OperatorAvailable waits until the operator's Deployment runs as its spec says.
func (c *Cluster) OperatorAvailable(ctx context.Context, op Operator) error {
	_, err := c.Eventually(ctx, "operator available", installLimit, func(ctx context.Context) error {
		d := &appsv1.Deployment{}
		if err := c.Get(ctx, op.Key, d); err != nil {
			return err
		}
		want := int32(1)
		if d.Spec.Replicas != nil {
			want = *d.Spec.Replicas
		}
		s := d.Status
		if s.ObservedGeneration != d.Generation || s.UpdatedReplicas != want || s.Replicas != want ||
			s.AvailableReplicas != want {
			return fmt.Errorf("%d of %d replicas available, %d updated, %d in all",
				s.AvailableReplicas, want, s.UpdatedReplicas, s.Replicas)
		}
		return nil
	})
	return err
}

// OperatorPods returns the pods of the operator's Deployment.
func (c *Cluster) OperatorPods(ctx context.Context, op Operator) ([]corev1.Pod, error) {
	d := &appsv1.Deployment{}
	if err := c.Get(ctx, op.Key, d); err != nil {
		return nil, err
	}
	pods := &corev1.PodList{}
	err := c.List(ctx, pods, client.InNamespace(op.Key.Namespace), client.MatchingLabels(d.Spec.Selector.MatchLabels))
	return pods.Items, err
}
