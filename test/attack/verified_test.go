// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"context"
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

// heldTimeout outlasts the two seconds for which a cache that verifies its peers
// holds whom it does not know.
const heldTimeout = 5 * time.Second

// verifiedAttempts are those that a NetworkPolicy does not stop, against a fleet
// whose caches serve the addresses of client pods alone.
func verifiedAttempts() []attempt {
	g := verifiedGround
	const with = " of a fleet with `peers: Verified`"
	const why = "the engine serves the addresses of client pods and nobody else, whatever lets the connection through"
	return []attempt{
		{
			who: "a pod on its node's network", way: "ask a member" + with + " on its own node",
			want: ClosedByEngine, why: why,
			try: func(t *testing.T, want Outcome) finding {
				host := []harness.Pod{players.hosts[g.pods[0].Spec.NodeName]}
				return until(want, func() finding {
					return everywhere(t, host, g.addresses(cachePort), "--timeout", heldTimeout.String())
				})
			},
		},
		{
			who: "the node itself", way: "ask a member" + with + " that runs on it",
			want: ClosedByEngine, why: why,
			try: func(t *testing.T, want Outcome) finding {
				return until(want, func() finding { return g.fromNode(t, heldTimeout) })
			},
		},
		{
			who: "a user who may only create NetworkPolicies", way: "add a policy that admits everybody to the pods" + with,
			want: ClosedByEngine, why: why,
			try: func(t *testing.T, want Outcome) finding {
				as := user(t, "verified-policies", g.key.Namespace, may("networking.k8s.io", "networkpolicies", "create"))
				if f := create(t, as, everybody(g.key.Namespace)); f != nil {
					return *f
				}
				return g.throughPolicy(t, want)
			},
		},
	}
}

// throughPolicy asks as soon as the network has heard of a policy that admits
// everybody: before that it refuses, and that is not what is asked.
func (g *ground) throughPolicy(t *testing.T, want Outcome) finding {
	t.Helper()
	deadline := time.Now().Add(openLimit)
	for {
		got := until(want, func() finding {
			return everywhere(t, values(players.strangers), g.addresses(cachePort), "--timeout", heldTimeout.String())
		})
		if got.outcome != RefusedByNetwork || time.Now().After(deadline) {
			return got
		}
		time.Sleep(300 * time.Millisecond)
	}
}

// forgedAttempts are those of a pod that may send what it likes: container
// runtimes give CAP_NET_RAW to root in a pod unless it is dropped.
func forgedAttempts() []attempt {
	return []attempt{{
		who: "a pod that may forge packets (CAP_NET_RAW)", way: "ask a member with a client's address for its own",
		want: RefusedByNetwork,
		why: "this plugin drops what does not come from its pod's own address; elsewhere the answer goes to the " +
			"address's owner",
		try: func(t *testing.T, _ Outcome) finding {
			var found []finding
			for _, node := range players.nodes {
				forger := rawPod(t, outsideNS+"-raw", "forger-"+node, node, nil)
				for _, victim := range players.clients {
					found = append(found, everywhere(t, []harness.Pod{forger}, mainGround.addresses(cachePort),
						"--from", addressOf(t, victim)))
				}
			}
			ownAddress(t)
			return worst(found)
		},
	}}
}

// ownAddress checks that the way of forging works: a client that names its own
// address by it is served.
func ownAddress(t *testing.T) {
	t.Helper()
	node := mainGround.pods[0].Spec.NodeName
	labels := harness.ClientLabels(mainGround.key.Namespace, mainGround.key.Name)
	client := rawPod(t, clientsNS+"-raw", "client-"+node, node, labels)
	addr := mainGround.addresses(cachePort)[0]
	got := until(ReadIt, func() finding { return ask(t, client, addr, "--from", addressOf(t, client)) })
	if got.outcome != ReadIt {
		t.Errorf("nothing is proven: a client that binds its own address is not served: %s", got.saw)
	}
}

// rawPod starts a pod with CAP_NET_RAW on a node, with the labels of a client.
func rawPod(t *testing.T, namespace, name, node string, labels map[string]string) harness.Pod {
	t.Helper()
	set := map[string]string{ours: "true", "pod-security.kubernetes.io/enforce": "privileged"}
	for k, v := range labels {
		set[k] = v
	}
	if err := cluster.MakeNamespace(t.Context(), namespace, set); err != nil {
		t.Fatal(err)
	}
	pod := podOf(namespace, name, web)
	pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: node}
	pod.Spec.SecurityContext = nil
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		RunAsUser:    new(int64(0)),
		Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_RAW"}},
	}
	now, err := cluster.StartPodAs(t.Context(), pod)
	if err != nil {
		t.Fatal(err)
	}
	return at(now)
}

// addressOf is a pod's own address.
func addressOf(t *testing.T, of harness.Pod) string {
	t.Helper()
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = of.Namespace, of.Name
	now := running(t, pod)
	return now.Status.PodIP
}

// servesEverybody takes the list of client addresses away: the fleet's peers are
// who the policy lets through.
func servesEverybody(t *testing.T) func() {
	t.Helper()
	set := func(ctx context.Context, peers memkeepv1alpha1.PeerLock) error {
		mc := &memkeepv1alpha1.Memcache{}
		if err := cluster.Get(ctx, verifiedGround.key, mc); err != nil {
			return fmt.Errorf("get the fleet: %w", err)
		}
		mc.Spec.Access.Peers = peers
		if err := cluster.Update(ctx, mc); err != nil {
			return fmt.Errorf("update the fleet: %w", err)
		}
		// The members are new ones, which hold nothing.
		return verifiedGround.fill(ctx)
	}
	if err := set(t.Context(), memkeepv1alpha1.PeersPolicy); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := set(context.Background(), memkeepv1alpha1.PeersVerified); err != nil {
			t.Error(err)
		}
	}
}
