// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gitops

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/memkeep/memkeep/test/harness"
)

const (
	// envArgo is the folder with Argo CD's up.sh and down.sh.
	envArgo = "MEMKEEP_ARGO"
	// envQuiet is how long everything must stay as it is.
	envQuiet = "MEMKEEP_GITOPS_QUIET"

	operatorNS = "memkeep-system"
)

var (
	cluster *harness.Cluster
	repos   repositories
)

func TestMain(m *testing.M) {
	flag.Parse()
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	err := prepare(ctx)
	cancel()
	code := 1
	if err == nil {
		code = m.Run()
	} else {
		fmt.Fprintln(os.Stderr, "gitops:", err)
	}
	if os.Getenv("MEMKEEP_E2E_KEEP") == "" {
		if err := end(); err != nil {
			fmt.Fprintln(os.Stderr, "gitops:", err)
			code = 1
		}
	}
	os.Exit(code)
}

// prepare takes an operator away that was installed otherwise, makes the
// repositories and starts Argo CD.
func prepare(ctx context.Context) error {
	var err error
	if cluster, err = harness.ConnectAloud(); err != nil {
		return err
	}
	if err := script(ctx, "down.sh"); err != nil {
		return err
	}
	if err := sweep(ctx); err != nil {
		return err
	}
	if repos, err = makeRepositories(); err != nil {
		return fmt.Errorf("make the repositories: %w", err)
	}
	up := time.Now()
	if err := script(ctx, "up.sh"); err != nil {
		return err
	}
	cluster.Progress("Argo CD is up after %.1f s", time.Since(up).Seconds())
	return nil
}

// end stops Argo CD and removes whatever a failed test has left.
func end() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if cluster == nil {
		return nil
	}
	return errors.Join(script(ctx, "down.sh"), sweep(ctx), os.RemoveAll(repos.root))
}

// script runs one of Argo CD's scripts.
func script(ctx context.Context, name string) error {
	folder := os.Getenv(envArgo)
	if folder == "" {
		return fmt.Errorf("%s is not set: run `make test-gitops`, which sets it", envArgo)
	}
	cmd := exec.CommandContext(ctx, filepath.Join(folder, name))
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// sweep removes the installation and the namespaces of an earlier run.
func sweep(ctx context.Context) error {
	op, err := cluster.FindOperator()
	if err != nil {
		return err
	}
	// Fleets first: no object is left without somebody who knows how to end it.
	for _, m := range modes {
		if err := cluster.DropNamespace(ctx, m.namespace); err != nil {
			return err
		}
	}
	if err := cluster.DeleteAll(ctx, op.Objects); err != nil {
		return err
	}
	for _, o := range op.Objects {
		if err := cluster.Gone(ctx, o.DeepCopy(), 2*time.Minute); err != nil {
			return err
		}
	}
	for _, name := range []string{operatorNS, operatorNS + "-outsider", operatorNS + "-test"} {
		if err := cluster.DropNamespace(ctx, name); err != nil {
			return err
		}
	}
	return nil
}

// check ends the test on an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually is cluster.Eventually for tests that end where it does.
func eventually(t *testing.T, what string, limit time.Duration, cond func(context.Context) error) time.Duration {
	t.Helper()
	took, err := cluster.Eventually(t.Context(), what, limit, cond)
	check(t, err)
	return took
}

func keyOf(namespace, name string) client.ObjectKey {
	return client.ObjectKey{Namespace: namespace, Name: name}
}
