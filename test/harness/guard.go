// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ephemeralContainers is the binding of the policy that refuses them in fleet pods.
const ephemeralContainers = "memkeep-ephemeral-containers"

// DebugUnguarded is Debug for a fleet's pod: the pod's namespace is exempt from
// the policy against ephemeral containers for that while, as an administrator
// would do it in an emergency.
func (c *Cluster) DebugUnguarded(ctx context.Context, pod *corev1.Pod) (Pod, error) {
	at := Pod{Namespace: pod.Namespace, Name: pod.Name}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: ephemeralContainers},
	}
	exempt := fmt.Appendf(nil, `{"spec": {"matchResources": {"namespaceSelector": {"matchExpressions": [
		{"key": %q, "operator": "NotIn", "values": [%q]}]}}}}`, corev1.LabelMetadataName, pod.Namespace)
	if err := c.Patch(ctx, binding, client.RawPatch("application/merge-patch+json", exempt)); err != nil {
		return at, fmt.Errorf("exempt namespace %s from %s: %w", pod.Namespace, ephemeralContainers, err)
	}
	// The API server acts on the change a moment later.
	what := "ephemeral container in " + at.String()
	_, err := c.Eventually(ctx, what, 30*time.Second, func(ctx context.Context) (err error) {
		at, err = c.Debug(ctx, pod)
		return err
	})
	guarded := []byte(`{"spec": {"matchResources": null}}`)
	if undo := c.Patch(ctx, binding, client.RawPatch("application/merge-patch+json", guarded)); undo != nil && err == nil {
		err = fmt.Errorf("guard namespace %s again: %w", pod.Namespace, undo)
	}
	return at, err
}
