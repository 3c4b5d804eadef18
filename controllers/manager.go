// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/resources"
)

// reconciliationTimeout ends a pass that hangs.
const reconciliationTimeout = 2 * time.Minute

// Scheme returns the scheme with every kind that the operator handles.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(s))
	utilruntime.Must(v1alpha1.AddToScheme(s))
	return s
}

// Options returns the manager's options for the namespaces to watch; none means
// all. Of every kind but Memcache, only objects with our label are watched and
// cached. Managed fields are kept for the children, because they tell what was
// applied, and dropped elsewhere.
func Options(namespaces []string) ctrl.Options {
	ours := labels.SelectorFromSet(labels.Set{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy})
	strip := cache.TransformStripManagedFields()
	options := ctrl.Options{
		Scheme: Scheme(),
		Cache: cache.Options{
			ReaderFailOnMissingInformer: true,
			ByObject: map[client.Object]cache.ByObject{
				&v1alpha1.Memcache{}:            {Transform: strip},
				&corev1.Pod{}:                   {Label: ours, Transform: strip},
				&networkingv1.NetworkPolicy{}:   {Label: ours},
				&appsv1.StatefulSet{}:           {Label: ours},
				&corev1.Service{}:               {Label: ours},
				&corev1.ServiceAccount{}:        {Label: ours},
				&corev1.ConfigMap{}:             {Label: ours},
				&policyv1.PodDisruptionBudget{}: {Label: ours},
			},
		},
		Controller: config.Controller{
			EnableWarmup:          new(true),
			ReconciliationTimeout: reconciliationTimeout,
		},
	}
	options.Client.FieldOwner = v1alpha1.ManagedBy
	// Reads that wait for our own writes save needless passes. It does not work
	// where one kind is cached for several namespaces, and nothing depends on it.
	options.Client.Cache = &client.CacheOptions{EnableReadYourWritesConsistency: new(len(namespaces) <= 1)}
	if len(namespaces) > 0 {
		options.Cache.DefaultNamespaces = map[string]cache.Config{}
		for _, n := range namespaces {
			options.Cache.DefaultNamespaces[n] = cache.Config{}
		}
	}
	return options
}

// Setup adds all controllers and metrics to the manager. own are the operator's
// own namespaces.
func Setup(ctx context.Context, mgr ctrl.Manager, settings resources.Settings, own []string) error {
	r := NewReconciler(mgr, settings, own)
	if len(own) > 0 {
		outsiders := ""
		if len(own) > 1 {
			outsiders = own[1]
		}
		var err error
		if r.Control, err = NewControl(mgr, own[0], outsiders); err != nil {
			return err
		}
		if err := r.Control.registerMetrics(); err != nil {
			return err
		}
		if err := r.listenTo(mgr, r.Control.Pool); err != nil {
			return err
		}
		if err := r.proveBy(ctx, mgr, outsiders); err != nil {
			return err
		}
	}
	if err := r.SetupWithManager(mgr); err != nil {
		return err
	}
	if err := registerFleetMetrics(mgr); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}

// NewReconciler returns a reconciler that works through the manager.
func NewReconciler(mgr ctrl.Manager, settings resources.Settings, own []string) *Reconciler {
	return &Reconciler{
		Client:     mgr.GetClient(),
		APIReader:  mgr.GetAPIReader(),
		Recorder:   mgr.GetEventRecorder("memkeep"),
		Settings:   settings,
		Namespaces: own,
	}
}
