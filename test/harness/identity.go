// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// As makes a ServiceAccount that has the rights of rules and no others, in one
// namespace, or everywhere where within is empty, and returns the cluster as a
// holder of its token sees it. Rights everywhere belong to an object without a
// namespace, which carries labels so that it is found again.
func (c *Cluster) As(
	ctx context.Context, who client.ObjectKey, within string, labels map[string]string, rules ...rbacv1.PolicyRule,
) (*Cluster, error) {
	meta := metav1.ObjectMeta{Namespace: within, Name: who.Name, Labels: labels}
	subjects := []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: who.Namespace, Name: who.Name}}
	objects := []client.Object{&corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Namespace: who.Namespace, Name: who.Name, Labels: labels},
	}}
	if within == "" {
		meta.Name = who.Namespace + "-" + who.Name
		objects = append(objects, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, &rbacv1.ClusterRoleBinding{
			ObjectMeta: meta, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		})
	} else {
		objects = append(objects, &rbacv1.Role{ObjectMeta: meta, Rules: rules}, &rbacv1.RoleBinding{
			ObjectMeta: meta, Subjects: subjects,
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: meta.Name},
		})
	}
	for _, obj := range objects {
		if err := c.Create(ctx, obj); err != nil {
			return nil, fmt.Errorf("make the identity %s: %w", who, err)
		}
	}
	request, err := c.Kube.CoreV1().ServiceAccounts(who.Namespace).
		CreateToken(ctx, who.Name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	if err != nil {
		return nil, fmt.Errorf("make a token of %s: %w", who, err)
	}
	out := *c
	out.Config = rest.AnonymousClientConfig(c.Config)
	out.Config.BearerToken = request.Status.Token
	out.Config.QPS = -1
	out.Config.WarningHandlerWithContext = rest.NoWarnings{}
	if out.WithWatch, err = client.NewWithWatch(out.Config, client.Options{
		Scheme: c.Scheme(), Mapper: c.RESTMapper(),
	}); err != nil {
		return nil, fmt.Errorf("connect as %s: %w", who, err)
	}
	if out.Kube, err = kubernetes.NewForConfig(out.Config); err != nil {
		return nil, fmt.Errorf("connect as %s: %w", who, err)
	}
	return &out, out.mayActAs(ctx, who, within, rules)
}

// mayActAs waits until the API server knows of the rights: it reads them from its own cache.
func (c *Cluster) mayActAs(ctx context.Context, who client.ObjectKey, within string, rules []rbacv1.PolicyRule) error {
	_, err := c.Eventually(ctx, "rights of "+who.String(), podLimit, func(ctx context.Context) error {
		for _, rule := range rules {
			resource, sub := splitResource(rule.Resources[0])
			review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
				ResourceAttributes: &authorizationv1.ResourceAttributes{
					Namespace: within, Group: rule.APIGroups[0], Resource: resource, Subresource: sub, Verb: rule.Verbs[0],
				},
			}}
			if err := c.Create(ctx, review); err != nil {
				return err
			}
			if !review.Status.Allowed {
				return errors.New("not there yet: " + rule.Verbs[0] + " " + rule.Resources[0])
			}
		}
		return nil
	})
	return err
}

func splitResource(name string) (resource, sub string) {
	resource, sub, _ = strings.Cut(name, "/")
	return resource, sub
}
