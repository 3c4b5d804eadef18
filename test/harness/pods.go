// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// podLimit is how long a pod may take to become ready.
const podLimit = time.Minute

// Restricted are the namespace labels that enforce the restricted Pod Security Standard.
var Restricted = map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}

// MakeNamespace creates a namespace that enforces the restricted Pod Security
// Standard, with labels beside; an empty value removes a label from one that is
// there. One of that name that is still going is waited for.
func (c *Cluster) MakeNamespace(ctx context.Context, name string, labels map[string]string) error {
	all := maps.Clone(Restricted)
	maps.Copy(all, labels)
	set := maps.Clone(all)
	maps.DeleteFunc(set, func(_, value string) bool { return value == "" })
	_, err := c.Eventually(ctx, "namespace "+name, podLimit, func(ctx context.Context) error {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: set}}
		err := c.Create(ctx, ns)
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		if err := c.Get(ctx, client.ObjectKeyFromObject(ns), ns); err != nil {
			return err
		}
		if ns.DeletionTimestamp != nil {
			return fmt.Errorf("an earlier one is still being deleted")
		}
		return c.Patch(ctx, ns, client.RawPatch("application/merge-patch+json", labelPatch(all)))
	})
	return err
}

// DropNamespace deletes a namespace and waits until it is gone.
func (c *Cluster) DropNamespace(ctx context.Context, name string) error {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := client.IgnoreNotFound(c.Delete(ctx, ns)); err != nil {
		return err
	}
	return c.Gone(ctx, ns, 2*podLimit)
}

// Label sets labels of an object; an empty value removes one.
func (c *Cluster) Label(ctx context.Context, obj client.Object, labels map[string]string) error {
	return c.Patch(ctx, obj, client.RawPatch("application/merge-patch+json", labelPatch(labels)))
}

// DialerPod says what a pod with the dialer in it is like.
type DialerPod struct {
	Namespace, Name string
	// Labels are the pod's labels.
	Labels map[string]string
	// Node pins the pod to a node.
	Node string
	// Args are the dialer's; it sleeps without any.
	Args []string
}

// StartPods starts pods side by side.
func (c *Cluster) StartPods(ctx context.Context, want []DialerPod) ([]*corev1.Pod, error) {
	pods, errs := make([]*corev1.Pod, len(want)), make([]error, len(want))
	var wg sync.WaitGroup
	for i := range want {
		wg.Go(func() { pods[i], errs[i] = c.StartPod(ctx, want[i]) })
	}
	wg.Wait()
	return pods, errors.Join(errs...)
}

// PodOf returns the pod that want describes, which passes the restricted Pod
// Security Standard.
func (c *Cluster) PodOf(want DialerPod) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: want.Namespace, Name: want.Name, Labels: want.Labels},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken:  new(false),
			EnableServiceLinks:            new(false),
			TerminationGracePeriodSeconds: new(int64(1)),
			SecurityContext: &corev1.PodSecurityContext{
				RunAsNonRoot:   new(true),
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
			Containers: []corev1.Container{{
				Name:            "dialer",
				Image:           c.DialerImage,
				ImagePullPolicy: corev1.PullIfNotPresent,
				Args:            want.Args,
				SecurityContext: locked(),
				Resources: corev1.ResourceRequirements{
					Requests: corev1.ResourceList{
						corev1.ResourceCPU: resource.MustParse("5m"), corev1.ResourceMemory: resource.MustParse("16Mi"),
					},
					Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
				},
			}},
		},
	}
	if want.Node != "" {
		pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: want.Node}
	}
	return pod
}

// StartPod creates a pod that passes the restricted Pod Security Standard, waits
// until it runs and returns it. An earlier pod of that name is replaced.
func (c *Cluster) StartPod(ctx context.Context, want DialerPod) (*corev1.Pod, error) {
	return c.StartPodAs(ctx, c.PodOf(want))
}

// StartPodAs creates a pod as it is, waits until it runs and returns it. An
// earlier pod of that name is replaced.
func (c *Cluster) StartPodAs(ctx context.Context, pod *corev1.Pod) (*corev1.Pod, error) {
	what := "pod " + pod.Namespace + "/" + pod.Name
	old := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}}
	if err := client.IgnoreNotFound(c.Delete(ctx, old, client.GracePeriodSeconds(0))); err != nil {
		return nil, fmt.Errorf("delete the earlier %s: %w", what, err)
	}
	// The namespace's own ServiceAccount may be a moment late.
	if _, err := c.Eventually(ctx, what+" created", podLimit, func(ctx context.Context) error {
		return c.Create(ctx, pod.DeepCopy())
	}); err != nil {
		return nil, err
	}
	return c.PodRuns(ctx, client.ObjectKeyFromObject(pod))
}

// PodRuns waits until a pod runs and returns it.
func (c *Cluster) PodRuns(ctx context.Context, key client.ObjectKey) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	_, err := c.Eventually(ctx, "pod "+key.String()+" running", podLimit, func(ctx context.Context) error {
		if err := c.Get(ctx, key, pod); err != nil {
			return err
		}
		if pod.Status.Phase != corev1.PodRunning || pod.Status.PodIP == "" {
			return fmt.Errorf("it is %s%s", pod.Status.Phase, containerTrouble(pod))
		}
		return nil
	})
	return pod, err
}

// locked is the security context of every container that the tests start.
func locked() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		ReadOnlyRootFilesystem:   new(true),
		RunAsNonRoot:             new(true),
		RunAsUser:                new(int64(65532)),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
}

// Debug puts the dialer into a running pod as an ephemeral container, as
// `kubectl debug` does, and returns it as a place to dial from.
func (c *Cluster) Debug(ctx context.Context, pod *corev1.Pod) (Pod, error) {
	const name = "debug"
	pod = pod.DeepCopy()
	pod.Spec.EphemeralContainers = append(pod.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name:            name,
			Image:           c.DialerImage,
			ImagePullPolicy: corev1.PullIfNotPresent,
			SecurityContext: locked(),
		},
	})
	at := Pod{Namespace: pod.Namespace, Name: pod.Name, Container: name}
	_, err := c.Kube.CoreV1().Pods(pod.Namespace).UpdateEphemeralContainers(ctx, pod.Name, pod, metav1.UpdateOptions{})
	if err != nil {
		return at, fmt.Errorf("add an ephemeral container to %s: %w", at, err)
	}
	_, err = c.Eventually(ctx, "ephemeral container in "+at.String(), podLimit, func(ctx context.Context) error {
		if err := c.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return err
		}
		for _, s := range pod.Status.EphemeralContainerStatuses {
			if s.Name == name && s.State.Running != nil {
				return nil
			}
		}
		return fmt.Errorf("not running")
	})
	return at, err
}

// containerTrouble tells why a pod's containers do not run.
func containerTrouble(pod *corev1.Pod) string {
	for _, s := range pod.Status.ContainerStatuses {
		if w := s.State.Waiting; w != nil && w.Reason != "" {
			return ": " + w.Reason + " " + w.Message
		}
		if t := s.State.Terminated; t != nil {
			return fmt.Sprintf(": ended with %d %s %s", t.ExitCode, t.Reason, t.Message)
		}
	}
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodScheduled && cond.Status == corev1.ConditionFalse {
			return ": " + cond.Message
		}
	}
	return ""
}

// Ready reports whether a pod's Ready condition is True.
func Ready(pod *corev1.Pod) bool {
	for _, cond := range pod.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue && pod.DeletionTimestamp == nil
		}
	}
	return false
}
