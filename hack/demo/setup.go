// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

// The demo's own namespaces and its name as a field manager.
const (
	clientNamespace   = "memkeep-demo-client"
	strangerNamespace = "memkeep-demo-stranger"
	decoyNamespace    = "memkeep-demo-decoy"
	fieldManager      = "memkeep-demo"
)

// demo is the cluster, the screen, and who plays in it.
type demo struct {
	*harness.Cluster
	*screen

	samples string
	keep    bool
	objects []*unstructured.Unstructured

	// fleet is the Memcache of the samples and clientLabels the namespace labels of its clients.
	fleet        *memkeepv1alpha1.Memcache
	clientLabels map[string]string
	podLabels    map[string]string

	// pod is the fleet's member that is dialled and member its name and port.
	pod    *corev1.Pod
	member string

	// open tells that a stranger got in.
	open bool

	friend, near, far harness.Pod
	decoy             string
}

// readSamples finds the Memcache among the samples and how its clients are labelled.
func (d *demo) readSamples() error {
	var err error
	if d.objects, err = harness.ReadManifests(d.samples); err != nil {
		return err
	}
	i := slices.IndexFunc(d.objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Memcache" })
	if i < 0 {
		return fmt.Errorf("%s has no Memcache", d.samples)
	}
	d.fleet = &memkeepv1alpha1.Memcache{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(d.objects[i].Object, d.fleet); err != nil {
		return fmt.Errorf("read the Memcache in %s: %w", d.samples, err)
	}
	if len(d.fleet.Spec.Access.Clients) == 0 {
		return fmt.Errorf("the Memcache in %s names no client", d.samples)
	}
	peer := d.fleet.Spec.Access.Clients[0]
	d.clientLabels = peer.NamespaceSelector.ToMetav1().MatchLabels
	if peer.PodSelector != nil {
		d.podLabels = peer.PodSelector.ToMetav1().MatchLabels
	}
	return nil
}

// install brings up the operator, the samples and the pods that will dial.
func (d *demo) install(ctx context.Context) error {
	version, err := d.Kube.Discovery().ServerVersion()
	if err != nil {
		return fmt.Errorf("ask the cluster for its version: %w", err)
	}
	nodes, err := d.nodes(ctx)
	if err != nil {
		return err
	}
	d.line("%s", d.paint(bold, "Memkeep: who gets into a cache, and who does not"))
	d.line("context %s, Kubernetes %s, nodes %s", d.Context, version.GitVersion, strings.Join(nodes, " "))
	d.step("Install the operator, then kubectl apply -k %s", d.samples)
	_, took, err := d.Install(ctx)
	if err != nil {
		return err
	}
	d.say("operator available after %.1f s", took.Seconds())
	if err := d.clean(ctx); err != nil {
		return err
	}
	if err := d.apply(ctx); err != nil {
		return err
	}
	return d.players(ctx, nodes)
}

// nodes returns the names of the nodes that pods can go to.
func (d *demo) nodes(ctx context.Context) ([]string, error) {
	list := &corev1.NodeList{}
	if err := d.List(ctx, list); err != nil {
		return nil, err
	}
	var names []string
	for _, n := range list.Items {
		if !n.Spec.Unschedulable {
			names = append(names, n.Name)
		}
	}
	if len(names) == 0 {
		return nil, errors.New("the cluster has no node that pods can go to")
	}
	return names, nil
}

// clean removes the Memcache of an earlier run, and never one that somebody else made.
func (d *demo) clean(ctx context.Context) error {
	old := &memkeepv1alpha1.Memcache{}
	err := d.Get(ctx, client.ObjectKeyFromObject(d.fleet), old)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		return err
	}
	ours := slices.ContainsFunc(old.ManagedFields, func(f metav1.ManagedFieldsEntry) bool {
		return f.Manager == fieldManager
	})
	if !ours {
		return fmt.Errorf("the Memcache %s is there already and not the demo's: delete it, or pass other --samples",
			client.ObjectKeyFromObject(old))
	}
	if d.keep {
		return nil
	}
	if err := client.IgnoreNotFound(d.Delete(ctx, old)); err != nil {
		return err
	}
	_, err = d.Eventually(ctx, "the earlier run's fleet gone", time.Minute, func(ctx context.Context) error {
		pods, err := d.FleetPods(ctx, client.ObjectKeyFromObject(d.fleet))
		if err == nil && len(pods) > 0 {
			err = fmt.Errorf("%d of its pods are still there", len(pods))
		}
		return err
	})
	return errors.Join(err, d.Gone(ctx, old, time.Minute))
}

// apply applies the samples and waits for the fleet.
func (d *demo) apply(ctx context.Context) error {
	if err := d.ApplyAll(ctx, fieldManager, d.objects); err != nil {
		return err
	}
	key := client.ObjectKeyFromObject(d.fleet)
	ready, took, err := d.FleetReady(ctx, key)
	if err != nil {
		return err
	}
	pods, err := d.FleetPods(ctx, key)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("the Memcache %s is ready and has no pods: give the sample a replica", key)
	}
	d.pod, d.fleet = &pods[0], ready
	d.member = d.memberAddress(d.pod)
	d.say("Memcache %s: %d of %d pods ready %.1f s after apply", key, ready.Status.ReadyReplicas,
		len(pods), took.Seconds())
	namespace := &corev1.Namespace{}
	if err := d.Get(ctx, client.ObjectKey{Name: key.Namespace}, namespace); err != nil {
		return err
	}
	d.promise(hardened(namespace, pods), "its pods have no privileges",
		"not root, read-only, no capabilities, no token, Pod Security 'restricted'")
	return nil
}

// hardened checks what the pods were admitted with, and by what standard.
func hardened(namespace *corev1.Namespace, pods []corev1.Pod) error {
	for label, value := range harness.Restricted {
		if namespace.Labels[label] != value {
			return fmt.Errorf("the namespace %s is not labelled %s=%s", namespace.Name, label, value)
		}
	}
	for i := range pods {
		spec := &pods[i].Spec
		if sc := spec.SecurityContext; sc == nil || sc.RunAsNonRoot == nil || !*sc.RunAsNonRoot {
			return fmt.Errorf("%s may run as root", pods[i].Name)
		}
		if spec.AutomountServiceAccountToken == nil || *spec.AutomountServiceAccountToken {
			return fmt.Errorf("%s has a token", pods[i].Name)
		}
		for _, volume := range spec.Volumes {
			// The public certificate by which a pod knows the operator.
			if c := volume.ConfigMap; c == nil || c.Name != pods[i].Labels[memkeepv1alpha1.LabelName]+"-control-ca" {
				return fmt.Errorf("%s mounts %s, which is not the operator's public certificate", pods[i].Name, volume.Name)
			}
		}
		for _, container := range spec.Containers {
			sc := container.SecurityContext
			if sc == nil || sc.ReadOnlyRootFilesystem == nil || !*sc.ReadOnlyRootFilesystem ||
				sc.AllowPrivilegeEscalation == nil || *sc.AllowPrivilegeEscalation || sc.Capabilities == nil ||
				!slices.Contains(sc.Capabilities.Drop, "ALL") || len(sc.Capabilities.Add) > 0 {
				return fmt.Errorf("the container %s of %s is not locked down", container.Name, pods[i].Name)
			}
		}
	}
	return nil
}

// memberAddress is a member's stable name in the cluster's DNS.
func (d *demo) memberAddress(pod *corev1.Pod) string {
	host := fmt.Sprintf("%s.%s.%s.svc", pod.Name, d.fleet.Name, d.fleet.Namespace)
	return net.JoinHostPort(host, strconv.Itoa(memkeepv1alpha1.PortCache))
}

// players starts the pods that dial, and the decoy on the cache's own node.
func (d *demo) players(ctx context.Context, nodes []string) error {
	unlabelled := map[string]string{}
	for key := range d.clientLabels {
		unlabelled[key] = ""
	}
	for name, labels := range map[string]map[string]string{
		clientNamespace: d.clientLabels, strangerNamespace: unlabelled, decoyNamespace: unlabelled,
	} {
		if err := d.MakeNamespace(ctx, name, labels); err != nil {
			return err
		}
	}
	here := d.pod.Spec.NodeName
	pods := []harness.DialerPod{
		{Namespace: clientNamespace, Name: "client", Labels: d.podLabels},
		{Namespace: strangerNamespace, Name: "stranger", Labels: d.podLabels, Node: here},
		{Namespace: decoyNamespace, Name: "decoy", Node: here, Args: []string{"serve", ":11211"}},
	}
	if i := slices.IndexFunc(nodes, func(n string) bool { return n != here }); i >= 0 {
		pods = append(pods, harness.DialerPod{
			Namespace: strangerNamespace, Name: "stranger-elsewhere", Labels: d.podLabels, Node: nodes[i],
		})
	}
	started, err := d.StartPods(ctx, pods)
	if err != nil {
		return err
	}
	d.friend = harness.Pod{Namespace: clientNamespace, Name: "client"}
	d.near = harness.Pod{Namespace: strangerNamespace, Name: "stranger"}
	d.decoy = harness.CacheAddress(started[2])
	if len(pods) > 3 {
		d.far = harness.Pod{Namespace: strangerNamespace, Name: "stranger-elsewhere"}
	}
	return nil
}

// removeAll removes what the demo made: first the fleet, then the operator.
func (d *demo) removeAll(ctx context.Context) error {
	d.keep = false
	if err := d.clean(ctx); err != nil && !strings.Contains(err.Error(), "no matches for kind") {
		return err
	}
	if err := d.DeleteAll(ctx, d.objects); err != nil {
		return err
	}
	op, err := d.FindOperator()
	if err != nil {
		return err
	}
	if err := d.DeleteAll(ctx, op.Objects); err != nil {
		return err
	}
	for _, name := range []string{clientNamespace, strangerNamespace, decoyNamespace, op.Key.Namespace} {
		if err := d.DropNamespace(ctx, name); err != nil {
			return err
		}
	}
	d.line("The demo's namespaces, the samples and the operator are gone.")
	return nil
}

// ending tells what to try next.
func (d *demo) ending(took time.Duration) {
	labels := labelText(d.clientLabels)
	d.line("\n%s in %.0f s. Try next:", d.paint(bold, fmt.Sprintf("All %d promises held", d.kept)), took.Seconds())
	d.line("  export KUBECONFIG=$(make -s kubeconfig)")
	d.line("  kubectl get memcaches -A; kubectl describe -n %s networkpolicy %s", d.fleet.Namespace, d.fleet.Name)
	d.line("  kubectl label namespace YOURS %s   # its pods may dial %s-ready.%s.svc:%d",
		labels, d.fleet.Name, d.fleet.Namespace, memkeepv1alpha1.PortCache)
	d.line("  kubectl exec -n %s client -- /dialer talk %s stats", clientNamespace, d.member)
	d.line("  kubectl scale -n %s memcache %s --replicas=3", d.fleet.Namespace, d.fleet.Name)
	d.line("  make cluster-down    # removes all of it; docs/security-model.md has what is promised, and what is not")
}

func labelText(labels map[string]string) string {
	var words []string
	for key, value := range labels {
		words = append(words, key+"="+value)
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
