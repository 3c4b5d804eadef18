// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// networkPause is the least time between two rounds of proofs for the network's sake.
const networkPause = 30 * time.Second

// reviewTimeout bounds the question which pods may be watched.
const reviewTimeout = 10 * time.Second

// mayWatchPods asks whether the operator may watch the pods of all namespaces.
// Where it may not, a cache of them would never be filled, and end the manager.
func mayWatchPods(ctx context.Context, c client.Writer) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, reviewTimeout)
	defer cancel()
	for _, verb := range []string{"list", "watch"} {
		review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
			ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: verb, Resource: "pods"},
		}}
		switch err := c.Create(ctx, review); {
		case apierrors.IsForbidden(err):
			return false, nil
		case err != nil:
			return false, fmt.Errorf("ask whether pods may be watched: %w", err)
		case !review.Status.Allowed:
			return false, nil
		}
	}
	return true, nil
}

// newAgents returns a cache of the pods on their nodes' network, of which the
// network plugin's agents are some. The manager runs it while it leads. It is
// nil where the operator may not watch the cluster's pods: members are then
// dialled anew at intervals alone, whatever happens to the agents.
func newAgents(ctx context.Context, mgr ctrl.Manager) (cache.Cache, error) {
	// The manager's own client would want to read back what it writes, and nobody can read a review.
	direct, err := client.New(mgr.GetConfig(), client.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
	})
	if err != nil {
		return nil, fmt.Errorf("make a client: %w", err)
	}
	may, err := mayWatchPods(ctx, direct)
	if err != nil {
		return nil, err
	}
	if !may {
		ctrl.Log.WithName("proof").Info(
			"The cluster's pods may not be watched: a change of the network plugin's agents is not noticed")
		return nil, nil
	}
	agents, err := cache.New(mgr.GetConfig(), cache.Options{
		HTTPClient: mgr.GetHTTPClient(), Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(),
		ByObject: map[client.Object]cache.ByObject{
			&corev1.Pod{}: {Field: fields.OneTermEqualSelector("spec.hostNetwork", "true"), Transform: stripAgent},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make a cache of the network's agents: %w", err)
	}
	if err := mgr.Add(agents); err != nil {
		return nil, fmt.Errorf("add a cache of the network's agents: %w", err)
	}
	return agents, nil
}

// stripAgent keeps of a pod what tells whether it is an agent, and which one.
func stripAgent(in any) (any, error) {
	p, ok := in.(*corev1.Pod)
	if !ok {
		return in, nil
	}
	out := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Namespace: p.Namespace, Name: p.Name, UID: p.UID, ResourceVersion: p.ResourceVersion,
		OwnerReferences: p.OwnerReferences,
	}}
	out.Spec.PriorityClassName = p.Spec.PriorityClassName
	for i := range p.Status.ContainerStatuses {
		if s := &p.Status.ContainerStatuses[i]; s.State.Running != nil {
			out.Status.ContainerStatuses = append(out.Status.ContainerStatuses, corev1.ContainerStatus{
				Name: s.Name, ContainerID: s.ContainerID,
			})
		}
	}
	return out, nil
}

// agent tells whether a pod on its node's network may be one that enforces
// policies. No label says so on every cluster; but such agents run on each node,
// by a DaemonSet, and a cluster cannot do without them, by their priority.
func agent(p *corev1.Pod) bool {
	owner := metav1.GetControllerOfNoCopy(p)
	return owner != nil && owner.Kind == "DaemonSet" && strings.HasPrefix(owner.APIVersion, "apps/") &&
		(p.Spec.PriorityClassName == "system-node-critical" || p.Spec.PriorityClassName == "system-cluster-critical")
}

// network remembers the agents.
type network struct {
	known  bool
	agents []string
	told   time.Time
}

// look tells whether the agents are others than when it last told so, or that it
// is to be asked again later.
func (n *network) look(pods []corev1.Pod, now time.Time) (changed bool, later time.Duration) {
	var agents []string
	for i := range pods {
		p := &pods[i]
		if !agent(p) {
			continue
		}
		text := string(p.UID)
		for j := range p.Status.ContainerStatuses {
			text += " " + p.Status.ContainerStatuses[j].ContainerID
		}
		agents = append(agents, text)
	}
	slices.Sort(agents)
	switch {
	case !n.known:
		n.known, n.agents = true, agents
	case slices.Equal(agents, n.agents):
	case now.Sub(n.told) < networkPause:
		return false, networkPause - now.Sub(n.told)
	default:
		n.agents, n.told = agents, now
		return true, 0
	}
	return false, 0
}
