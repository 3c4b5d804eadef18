// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/pki"
)

// The CA's key lies in the operator's own namespace and nowhere else. A create
// cannot be narrowed to a name.
// +kubebuilder:rbac:groups="",namespace=memkeep-system,resources=secrets,verbs=create
// +kubebuilder:rbac:groups="",namespace=memkeep-system,resources=secrets,resourceNames=memkeep-control-ca,verbs=get;update
// Its public part, for the fleets' pods and for the outsiders.
// +kubebuilder:rbac:groups="",resources=configmaps,verbs=get;list;watch;create;patch

const (
	// authoritySecret is the Secret that holds the operator's CA.
	authoritySecret = "memkeep-control-ca"
	// outsiderBundle is the ConfigMap by which outsiders know the operator.
	outsiderBundle = "memkeep-ca"
	// authorityPeriod is how often the CA is looked at, authorityRetry how soon
	// after a failure.
	authorityPeriod = time.Minute
	authorityRetry  = 3 * time.Second
)

// authority keeps the operator's CA: it makes it where there is none, renews it
// in time, and tells when what pods are to trust has changed. Only the leader
// does.
type authority struct {
	client    client.Client
	reader    client.Reader // past the cache: Secrets are not watched
	namespace string
	outsiders string // the probers' namespace; empty for none
	holder    *pki.Holder
	changed   func(context.Context)
	now       func() time.Time
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (a *authority) NeedLeaderElection() bool { return true }

// Start keeps the CA until ctx ends.
func (a *authority) Start(ctx context.Context) error {
	log := ctrl.Log.WithName("control")
	told := ""
	for {
		wait := authorityPeriod
		err := a.keep(ctx)
		if err == nil {
			err = a.publish(ctx)
		}
		why := ""
		if err != nil {
			wait, why = authorityRetry, err.Error()
		}
		if why != "" && why != told && ctx.Err() == nil {
			log.Error(err, "The CA of the control ports is not kept; fleets go on as they are")
		}
		told = why
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// unwatched keeps the client from watching Secrets, which it may not, to see
// what it has written.
const unwatched = client.DisableReadYourWritesConsistency

// keep reads the CA, makes it where it is absent and renews it where it is due.
// Where another replica was faster, its CA is taken.
func (a *authority) keep(ctx context.Context) error {
	secret := &corev1.Secret{}
	key := types.NamespacedName{Namespace: a.namespace, Name: authoritySecret}
	err := a.reader.Get(ctx, key, secret)
	if apierrors.IsNotFound(err) {
		if err := a.create(ctx); err != nil && !apierrors.IsAlreadyExists(err) {
			return err
		}
		err = a.reader.Get(ctx, key, secret)
	}
	if err != nil {
		return fmt.Errorf("get Secret %s: %w", key, err)
	}
	current, err := pki.Parse(secret.Data)
	if err != nil {
		return fmt.Errorf("the Secret %s holds no CA; delete it, and another is made: %w", key, err)
	}
	next, due, err := current.Renewed(a.now())
	if err != nil {
		return fmt.Errorf("renew the CA: %w", err)
	}
	if due {
		if secret.Data, err = next.Data(); err != nil {
			return fmt.Errorf("encode the CA: %w", err)
		}
		if err := a.client.Update(ctx, secret, fieldOwner, unwatched); err != nil {
			return fmt.Errorf("update Secret %s: %w", key, err)
		}
		current = next
	}
	before := a.holder.Bundle()
	a.holder.Set(current)
	if before != current.Bundle() {
		a.changed(ctx)
	}
	return nil
}

// create makes the CA. It never replaces one.
func (a *authority) create(ctx context.Context) error {
	fresh, err := pki.New(a.now())
	if err != nil {
		return fmt.Errorf("make a CA: %w", err)
	}
	data, err := fresh.Data()
	if err != nil {
		return fmt.Errorf("encode the CA: %w", err)
	}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: a.namespace, Name: authoritySecret,
			Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedBy},
		},
		Type: corev1.SecretTypeOpaque, Data: data,
	}
	if err := a.client.Create(ctx, secret, fieldOwner, unwatched); err != nil {
		return fmt.Errorf("create Secret %s: %w", authoritySecret, err)
	}
	return nil
}

// publish tells the outsiders what to trust. There may be none, and no
// namespace of theirs.
func (a *authority) publish(ctx context.Context) error {
	if a.outsiders == "" {
		return nil
	}
	key := types.NamespacedName{Namespace: a.outsiders, Name: outsiderBundle}
	wanted := map[string]string{pki.KeyBundle: a.holder.Bundle()}
	bundle := &corev1.ConfigMap{}
	err := a.reader.Get(ctx, key, bundle)
	switch {
	case apierrors.IsNotFound(err) && !a.outsidersNamespace(ctx):
		return nil
	case apierrors.IsNotFound(err):
		bundle = &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name, Labels: map[string]string{
				v1alpha1.LabelManagedBy: v1alpha1.ManagedBy, v1alpha1.LabelComponent: v1alpha1.ComponentProber,
			}}, Data: wanted,
		}
		err = a.client.Create(ctx, bundle, fieldOwner)
	case err == nil && (len(bundle.Data) != 1 || bundle.Data[pki.KeyBundle] != wanted[pki.KeyBundle]):
		before := bundle.DeepCopy()
		bundle.Data, bundle.BinaryData = wanted, nil
		err = a.client.Patch(ctx, bundle, client.MergeFrom(before), fieldOwner)
	}
	if err != nil {
		return fmt.Errorf("publish the CA in ConfigMap %s: %w", key, err)
	}
	return nil
}

// outsidersNamespace tells whether the outsiders' namespace is there. It is
// listed, because the operator may do that with namespaces and no more.
func (a *authority) outsidersNamespace(ctx context.Context) bool {
	found := &corev1.NamespaceList{}
	err := a.reader.List(ctx, found, client.MatchingFields{"metadata.name": a.outsiders})
	return err == nil && len(found.Items) > 0
}
