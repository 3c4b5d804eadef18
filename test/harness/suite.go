// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"strconv"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

const (
	// envKeep keeps what a suite made, to look at.
	envKeep = "MEMKEEP_E2E_KEEP"
	// prepareLimit bounds what goes before a suite's first test.
	prepareLimit = 10 * time.Minute
)

// Suite is what the suites of tests on a real cluster have in common: what an
// earlier run left is removed, the operator is installed, the tests run, and
// what they made is removed.
type Suite struct {
	// Name begins messages.
	Name string
	// Mark is a label that everything has which the suite makes.
	Mark string
	// Marked are lists of the kinds that the suite makes beside namespaces and
	// what is in them.
	Marked []client.ObjectList
	// Parallel is how many tests run side by side: they wait far more than they work.
	Parallel int
	// KeepFailed keeps what tests made if one failed.
	KeepFailed bool
	// Prepare goes before the tests, with the operator installed.
	Prepare func(context.Context, *Cluster, Operator) error
}

// Main runs the suite and returns the process's exit code.
func (s *Suite) Main(ctx context.Context, m interface{ Run() int }) int {
	flag.Parse()
	if err := flag.Set("test.parallel", strconv.Itoa(s.Parallel)); err != nil {
		return s.failed(err)
	}
	// Client libraries log what the tests look at anyway.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	c, err := ConnectAloud()
	if err != nil {
		return s.failed(err)
	}
	if err := s.prepare(ctx, c); err != nil {
		return s.failed(err)
	}
	code := m.Run()
	if os.Getenv(envKeep) != "" || code != 0 && s.KeepFailed {
		return code
	}
	if err := c.DropMarked(ctx, s.Mark, s.Marked...); err != nil {
		return s.failed(err)
	}
	return code
}

// ConnectAloud connects to the cluster of KUBECONFIG and says on standard output
// what is waited for, with the seconds since then.
func ConnectAloud() (*Cluster, error) {
	c, err := Connect()
	if err != nil {
		return nil, err
	}
	start := time.Now()
	c.Progress = func(format string, args ...any) {
		fmt.Fprintf(os.Stdout, "    [%4.0f s] %s\n", time.Since(start).Seconds(), fmt.Sprintf(format, args...))
	}
	return c, nil
}

func (s *Suite) failed(err error) int {
	fmt.Fprintf(os.Stderr, "%s: %v\n", s.Name, err)
	return 1
}

func (s *Suite) prepare(ctx context.Context, c *Cluster) error {
	ctx, cancel := context.WithTimeout(ctx, prepareLimit)
	defer cancel()
	if err := c.DropMarked(ctx, s.Mark, s.Marked...); err != nil {
		return err
	}
	operator, took, err := c.Install(ctx)
	if err != nil {
		return err
	}
	c.Progress("operator available %.1f s after the installation began", took.Seconds())
	return s.Prepare(ctx, c, operator)
}

// DropMarked deletes the namespaces that have a label, and the objects of lists
// that have it, and waits until the namespaces are gone.
func (c *Cluster) DropMarked(ctx context.Context, mark string, lists ...client.ObjectList) error {
	for _, list := range lists {
		if err := c.dropList(ctx, mark, list.DeepCopyObject().(client.ObjectList)); err != nil {
			return err
		}
	}
	namespaces := &corev1.NamespaceList{}
	if err := c.dropList(ctx, mark, namespaces); err != nil {
		return err
	}
	for i := range namespaces.Items {
		if err := c.Gone(ctx, &namespaces.Items[i], 2*time.Minute); err != nil {
			return err
		}
	}
	return nil
}

func (c *Cluster) dropList(ctx context.Context, mark string, list client.ObjectList) error {
	if err := c.List(ctx, list, client.HasLabels{mark}); err != nil {
		return err
	}
	objects, err := meta.ExtractList(list)
	if err != nil {
		return fmt.Errorf("read a list: %w", err)
	}
	var errs []error
	for _, o := range objects {
		errs = append(errs, client.IgnoreNotFound(c.Delete(ctx, o.(client.Object))))
	}
	return errors.Join(errs...)
}
