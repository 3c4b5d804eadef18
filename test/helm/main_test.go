// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

// Package helm takes Memkeep through its life with Helm on a real cluster, with
// Helm 4 first and then with Helm 3, while a fleet of an application's own chart
// goes on.
package helm

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
	"github.com/memkeep/memkeep/test/helmcli"
)

const (
	chart   = "../../charts/memkeep"
	app     = "../../examples/app"
	release = "memkeep"
	space   = "memkeep-system"
	// shop is where the application is, stalled where it cannot be, strangers
	// where nobody is admitted from.
	shop      = "helm-shop"
	stalled   = "helm-stalled"
	strangers = "helm-strangers"
	// limit is Helm's own for whatever it waits for.
	limit = "150s"
)

var (
	cluster *harness.Cluster
	helms   []helmcli.Helm
	// images is the file of values that names the images of this build.
	images string
	// fleet is the application's.
	fleet = client.ObjectKey{Namespace: shop, Name: "web-sessions"}
	// crd is what a release may keep.
	crd = client.ObjectKey{Name: "memcaches.memkeep.io"}
	// stranger and decoy dial and are dialled.
	stranger harness.Pod
	decoy    string
)

func TestMain(m *testing.M) {
	flag.Parse()
	klog.SetLogger(logr.Discard())
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Minute)
	err := prepare(ctx)
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "helm:", err)
		os.Exit(1)
	}
	code := m.Run()
	if err := sweep(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, "helm:", err)
		code = 1
	}
	os.Exit(code)
}

func prepare(ctx context.Context) error {
	var err error
	if cluster, err = harness.ConnectAloud(); err != nil {
		return err
	}
	if helms, err = helmcli.Both(os.Getenv("KUBECONFIG")); err != nil {
		return err
	}
	if err := sweep(ctx); err != nil {
		return err
	}
	op, err := cluster.FindOperator()
	if err != nil {
		return err
	}
	if err := cluster.DeleteAll(ctx, op.Objects); err != nil {
		return err
	}
	for _, o := range op.Objects {
		if err := cluster.Gone(ctx, o.DeepCopy(), 2*time.Minute); err != nil {
			return err
		}
	}
	cluster.Progress("nothing of Memkeep is installed")
	if err := writeImages(op); err != nil {
		return err
	}
	for name, labels := range map[string]map[string]string{
		shop: harness.ClientLabels(fleet.Namespace, fleet.Name), stalled: nil, strangers: nil,
	} {
		if err := cluster.MakeNamespace(ctx, name, labels); err != nil {
			return err
		}
	}
	pods, err := cluster.StartPods(ctx, []harness.DialerPod{
		{Namespace: strangers, Name: "stranger"},
		{Namespace: strangers, Name: "decoy", Args: []string{"serve", ":11211"}},
	})
	if err != nil {
		return err
	}
	stranger, decoy = harness.Pod{Namespace: strangers, Name: "stranger"}, harness.CacheAddress(pods[1])
	return nil
}

// writeImages writes the values that name the images of the installation manifest.
func writeImages(op harness.Operator) error {
	var d appsv1.Deployment
	for _, o := range op.Objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		raw, err := o.MarshalJSON()
		if err != nil {
			return err
		}
		if err := yaml.Unmarshal(raw, &d); err != nil {
			return err
		}
	}
	values, err := yaml.Marshal(map[string]any{
		"image": image(d.Spec.Template.Spec.Containers[0].Image), "cacheImage": image(cluster.CacheImage),
	})
	if err != nil {
		return err
	}
	images = filepath.Join(os.TempDir(), fmt.Sprintf("memkeep-helm-images-%d.yaml", os.Getpid()))
	return os.WriteFile(images, values, 0o600)
}

// image takes a reference apart as the chart has it.
func image(ref string) map[string]any {
	name, digest, _ := strings.Cut(ref, "@")
	tag := ""
	if i := strings.LastIndex(name, ":"); i > strings.LastIndex(name, "/") {
		name, tag = name[:i], name[i+1:]
	}
	i := strings.LastIndex(name, "/")
	return map[string]any{"registry": name[:max(i, 0)], "repository": name[i+1:], "tag": tag, "digest": digest}
}

// sweep removes what an earlier run left: releases, namespaces and the definition.
func sweep(ctx context.Context) error {
	_ = os.Remove(images)
	for _, name := range []string{shop, stalled} {
		_, _ = helms[0].Run(ctx, "uninstall", "web", "--namespace", name, "--ignore-not-found", "--timeout", limit)
	}
	_, _ = helms[0].Run(ctx, "uninstall", release, "--namespace", space, "--ignore-not-found", "--timeout", limit)
	if err := client.IgnoreNotFound(cluster.Delete(ctx, &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: crd.Name},
	})); err != nil {
		return err
	}
	for _, name := range []string{shop, stalled, strangers, space + "-test", space + "-outsider", space} {
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

// helm runs Helm and tells how long it took.
func helm(t *testing.T, h helmcli.Helm, args ...string) string {
	t.Helper()
	begun := time.Now()
	out, err := h.Say(t.Context(), args...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s %s: %.1f s", h, args[0], time.Since(begun).Seconds())
	return out
}

// memkeep runs Helm on the operator's release, with this build's images where values count.
func memkeep(t *testing.T, h helmcli.Helm, verb string, more ...string) string {
	t.Helper()
	args := []string{verb, release}
	if verb == "install" || verb == "upgrade" {
		args = append(args, chart, "-f", images)
	}
	if verb == "install" {
		args = append(args, "--create-namespace")
	}
	if verb != "test" {
		args = append(args, "--wait")
	}
	return helm(t, h, append(append(args, "--namespace", space, "--timeout", limit), more...)...)
}

// lives are the members of the fleet by name: UID and restarts.
func lives(t *testing.T) map[string]string {
	t.Helper()
	pods, err := cluster.FleetPods(t.Context(), fleet)
	check(t, err)
	out := map[string]string{}
	for i := range pods {
		restarts := int32(0)
		for _, c := range pods[i].Status.ContainerStatuses {
			restarts += c.RestartCount
		}
		out[pods[i].Name] = fmt.Sprintf("UID %s, %d restarts", pods[i].UID, restarts)
	}
	return out
}

// there asks whether an object is there.
func there(t *testing.T, key client.ObjectKey, o client.Object) bool {
	t.Helper()
	err := cluster.Get(t.Context(), key, o)
	if err != nil && !apierrors.IsNotFound(err) {
		t.Fatal(err)
	}
	return err == nil
}

// ready waits for the fleet at its current generation.
func ready(t *testing.T) {
	t.Helper()
	_, _, err := cluster.FleetReady(t.Context(), fleet)
	check(t, err)
}

// condition waits for a condition of the fleet.
func condition(t *testing.T, kind string, status metav1.ConditionStatus) *metav1.Condition {
	t.Helper()
	c, err := cluster.Condition(t.Context(), fleet, kind, status, "")
	check(t, err)
	return c
}

// memcache reads the fleet's object.
func memcache(t *testing.T) *memkeepv1alpha1.Memcache {
	t.Helper()
	m := &memkeepv1alpha1.Memcache{}
	check(t, cluster.Get(t.Context(), fleet, m))
	return m
}

// shopPod is the application's pod.
func shopPod(t *testing.T) harness.Pod {
	t.Helper()
	pods := &corev1.PodList{}
	check(t, cluster.List(t.Context(), pods, client.InNamespace(shop),
		client.MatchingLabels{"app.kubernetes.io/name": "shop"}))
	if len(pods.Items) == 0 {
		t.Fatal("the shop has no pod")
	}
	return harness.Pod{Namespace: shop, Name: pods.Items[0].Name}
}
