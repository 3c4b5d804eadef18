// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/memkeep/memkeep/test/harness"
)

// envResults is where the results go when every attempt was made.
const envResults = "MEMKEEP_ATTACK_RESULTS"

// ours marks everything that the suite makes, so that a killed run's is found.
const ours = "attack.memkeep.test/run"

var (
	cluster  *harness.Cluster
	operator harness.Operator
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Attempts wait far more than they work.
	if err := flag.Set("test.parallel", "24"); err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	err := prepare(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "attack:", err)
		os.Exit(1)
	}
	code := m.Run()
	if os.Getenv("MEMKEEP_E2E_KEEP") == "" {
		if err := sweep(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, "attack:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// prepare installs the operator and brings up the fleets and everybody who dials.
func prepare(ctx context.Context) error {
	var err error
	if cluster, err = harness.Connect(); err != nil {
		return err
	}
	start := time.Now()
	cluster.Progress = func(format string, args ...any) {
		fmt.Printf("    [%4.0f s] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	if err := sweep(ctx); err != nil {
		return err
	}
	if operator, _, err = cluster.Install(ctx); err != nil {
		return err
	}
	if err := stage(ctx); err != nil {
		return fmt.Errorf("set the stage: %w", err)
	}
	cluster.Progress("the fleets hold %s, and everybody who dials is there", catchphrase)
	return nil
}

// sweep removes what an earlier run left.
func sweep(ctx context.Context) error {
	for _, list := range []client.ObjectList{&rbacv1.ClusterRoleBindingList{}, &rbacv1.ClusterRoleList{}} {
		if err := cluster.List(ctx, list, client.HasLabels{ours}); err != nil {
			return err
		}
		var objects []client.Object
		switch l := list.(type) {
		case *rbacv1.ClusterRoleBindingList:
			for i := range l.Items {
				objects = append(objects, &l.Items[i])
			}
		case *rbacv1.ClusterRoleList:
			for i := range l.Items {
				objects = append(objects, &l.Items[i])
			}
		}
		for _, obj := range objects {
			if err := client.IgnoreNotFound(cluster.Delete(ctx, obj)); err != nil {
				return err
			}
		}
	}
	namespaces := &corev1.NamespaceList{}
	if err := cluster.List(ctx, namespaces, client.HasLabels{ours}); err != nil {
		return err
	}
	for i := range namespaces.Items {
		if err := client.IgnoreNotFound(cluster.Delete(ctx, &namespaces.Items[i])); err != nil {
			return err
		}
	}
	for i := range namespaces.Items {
		if err := cluster.Gone(ctx, &namespaces.Items[i], 2*time.Minute); err != nil {
			return err
		}
	}
	return nil
}
