// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

// cachePort is the port that clients use.
const cachePort = memkeepv1alpha1.PortCache

// allPorts are the ports of a fleet's pods.
var allPorts = []int{
	memkeepv1alpha1.PortCache, memkeepv1alpha1.PortCacheTLS, memkeepv1alpha1.PortControl, memkeepv1alpha1.PortMetrics,
}

// fleetLabels are those of a fleet's own pods.
func (g *ground) fleetLabels() map[string]string {
	return map[string]string{
		memkeepv1alpha1.LabelName:      g.key.Name,
		memkeepv1alpha1.LabelComponent: memkeepv1alpha1.ComponentCache,
		memkeepv1alpha1.LabelManagedBy: memkeepv1alpha1.ManagedBy,
	}
}

// names are the names under which a fleet is found.
func (g *ground) names() []string {
	ring := fmt.Sprintf("%s.%s.svc:%d", g.key.Name, g.key.Namespace, cachePort)
	all := []string{ring, fmt.Sprintf("%s-ready.%s.svc:%d", g.key.Name, g.key.Namespace, cachePort)}
	for i := range g.pods {
		all = append(all, g.pods[i].Name+"."+ring)
	}
	return all
}

// everyPort are the addresses of every member at every port.
func (g *ground) everyPort() []string {
	var all []string
	for _, port := range allPorts {
		all = append(all, g.addresses(port)...)
	}
	return all
}

func podAttempts() []attempt {
	const stranger, forger = "a pod in an unlabelled namespace", "a pod with forged labels"
	policy := "the fleet's NetworkPolicy names who gets in"
	return []attempt{
		{
			who: stranger, way: "ask each port of each member by its address, from every node",
			want: RefusedByNetwork, why: policy,
			try: func(t *testing.T, _ Outcome) finding {
				return everywhere(t, values(players.strangers), mainGround.everyPort())
			},
		},
		{
			who: stranger, way: "ask the members, the ring and the ready Service by their names",
			want: RefusedByNetwork, why: policy + "; a name is no secret and no door",
			try: func(t *testing.T, _ Outcome) finding {
				return everywhere(t, values(players.strangers), mainGround.names())
			},
		},
		{
			who: stranger, way: "ask by UDP, which made memcached an amplifier",
			want: GotNothing, why: "no cache of a fleet listens on UDP, and the policy admits none",
			try: func(t *testing.T, _ Outcome) finding { return datagrams(t, values(players.strangers)) },
		},
		{
			who: forger, way: "ask from a foreign namespace with the client's pod label",
			want: RefusedByNetwork, why: "the pod selector is and-ed with the namespace selector",
			try: func(t *testing.T, _ Outcome) finding {
				return everywhere(t, values(players.forgers), mainGround.addresses(cachePort))
			},
		},
		{
			who: forger, way: "ask from the clients' namespace without the client's pod label",
			want: RefusedByNetwork, why: "the namespace selector is and-ed with the pod selector",
			try: func(t *testing.T, _ Outcome) finding {
				return everywhere(t, []harness.Pod{players.halfway}, mainGround.addresses(cachePort))
			},
		},
		{
			who: forger, way: "ask from a foreign namespace with the fleet's own labels",
			want: RefusedByAdmission, why: "the label `memkeep.io/name` is for pods of a Memcache (`memkeep-pods`)",
			try: func(t *testing.T, _ Outcome) finding {
				return disguised(t, "forged-fleet", mainGround.fleetLabels(), mainGround.everyPort())
			},
		},
		{
			who: forger, way: "ask the control port as the operator or a prober, by their labels",
			want: RefusedByNetwork, why: "the operator is admitted by its namespace as well, and probers nowhere",
			try: func(t *testing.T, _ Outcome) finding {
				var found []finding
				for _, component := range []string{memkeepv1alpha1.ComponentOperator, memkeepv1alpha1.ComponentProber} {
					found = append(found, disguised(t, "forged-"+component, map[string]string{
						"app.kubernetes.io/name": "memkeep", memkeepv1alpha1.LabelComponent: component,
					}, mainGround.everyPort()))
				}
				return worst(found)
			},
		},
	}
}

// disguised starts a pod with labels outside, which may be refused, and asks from it.
func disguised(t *testing.T, name string, labels map[string]string, addrs []string) finding {
	t.Helper()
	as := user(t, name, outsideNS, may("", "pods", "create"))
	pod := podOf(outsideNS, name, labels)
	if f := create(t, as, pod); f != nil {
		return *f
	}
	running(t, pod)
	return everywhere(t, []harness.Pod{at(pod)}, addrs)
}

// running waits until an attacker's pod runs.
func running(t *testing.T, pod *corev1.Pod) *corev1.Pod {
	t.Helper()
	now, err := cluster.PodRuns(t.Context(), client.ObjectKeyFromObject(pod))
	if err != nil {
		t.Fatal(err)
	}
	return now
}

// datagrams asks every member at the cache port by UDP.
func datagrams(t *testing.T, from []harness.Pod) finding {
	t.Helper()
	var found []finding
	for _, pod := range from {
		for _, addr := range mainGround.addresses(cachePort) {
			o, said := dialer(t, pod, "udp", addr, "get catchphrase")
			f := finding{GotNothing, fmt.Sprintf("%s sends a datagram to %s: %s", pod, addr, o)}
			if o == dialing.Connected {
				f = finding{ReadIt, f.saw + " " + said}
			}
			found = append(found, f)
		}
	}
	return worst(found)
}

func neighbourAttempts() []attempt {
	const neighbour = "a neighbour on the same node"
	return []attempt{{
		who: neighbour, way: "ask the member beside it, which some network plugins let through",
		want: RefusedByNetwork, why: "the plugin here enforces policies between pods of one node",
		try: func(t *testing.T, _ Outcome) finding {
			var found []finding
			for i := range mainGround.pods {
				beside := players.strangers[mainGround.pods[i].Spec.NodeName]
				found = append(found, everywhere(t, []harness.Pod{beside}, mainGround.everyPortOf(i)))
			}
			return worst(found)
		},
	}}
}

// everyPortOf are the addresses of one member at every port.
func (g *ground) everyPortOf(i int) []string {
	var all []string
	for _, port := range allPorts {
		all = append(all, fmt.Sprintf("%s:%d", g.pods[i].Status.PodIP, port))
	}
	return all
}

func nodeAttempts() []attempt {
	const host, node, privileged = "a pod on its node's network", "the node itself", "a privileged pod"
	return []attempt{
		{
			who: host, way: "ask the member on its own node",
			want: ReadIt, why: "network plugins let a node reach its pods: whoever may create such pods has the node",
			try: func(t *testing.T, want Outcome) finding { return fromHosts(t, want, true) },
		},
		{
			who: host, way: "ask the member on another node",
			want: RefusedByNetwork, why: "to this plugin another node is a stranger; to others it may not be",
			try: func(t *testing.T, want Outcome) finding { return fromHosts(t, want, false) },
		},
		{
			who: node, way: "ask the member that runs on it",
			want: ReadIt, why: "whoever has the node has its pods",
			try: func(t *testing.T, _ Outcome) finding { return mainGround.fromNode(t, dialTimeout) },
		},
		{
			who: privileged, way: "search the memory of every cache on its node",
			want: ReadIt, why: "root on the node reads all memory: whoever may create privileged pods has the node",
			try: func(t *testing.T, _ Outcome) finding { return searchMemory(t) },
		},
	}
}

// fromHosts asks from pods on the nodes' network, each the members on its own
// node or those on others.
func fromHosts(t *testing.T, want Outcome, own bool) finding {
	t.Helper()
	var found []finding
	for i := range mainGround.pods {
		for node, host := range players.hosts {
			if (node == mainGround.pods[i].Spec.NodeName) == own {
				addrs := []string{mainGround.addresses(cachePort)[i]}
				found = append(found, until(want, func() finding { return everywhere(t, []harness.Pod{host}, addrs) }))
			}
		}
	}
	return worst(found)
}

// fromNode runs the dialer on the node of the first member, outside of every pod.
func (g *ground) fromNode(t *testing.T, timeout time.Duration) finding {
	t.Helper()
	path, err := filepath.Abs("../../bin/dialer")
	if err != nil {
		t.Fatal(err)
	}
	pod := &g.pods[0]
	addr := harness.CacheAddress(pod)
	said, err := cluster.OnNode(t.Context(), pod.Spec.NodeName,
		path, "talk", "--timeout", timeout.String(), addr, "get catchphrase")
	saw := fmt.Sprintf("the node asks %s: %s %v", addr, strings.Join(strings.Fields(said), " "), err)
	switch {
	case strings.Contains(saw, catchphrase):
		return finding{ReadIt, saw}
	case strings.Contains(saw, string(dialing.TimedOut)):
		return finding{RefusedByNetwork, saw}
	case strings.Contains(saw, "("+string(dialing.Closed)+")"), strings.Contains(saw, "("+string(dialing.Reset)+")"):
		return finding{ClosedByEngine, saw}
	}
	return finding{GotNothing, saw}
}

// searchMemory starts a privileged pod in the node's process namespace beside a
// member, and looks for the catchphrase in the memory of every cache there.
func searchMemory(t *testing.T) finding {
	t.Helper()
	as := user(t, "privileged-pods", privilegedNS, may("", "pods", "create"))
	pod := podOf(privilegedNS, "searcher", nil)
	pod.Spec.NodeSelector = map[string]string{corev1.LabelHostname: mainGround.pods[0].Spec.NodeName}
	pod.Spec.HostPID = true
	pod.Spec.SecurityContext = nil
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		Privileged: new(true), RunAsUser: new(int64(0)),
	}
	if f := create(t, as, pod); f != nil {
		return *f
	}
	running(t, pod)
	o, said := dialer(t, at(pod), "search", "cache-server", fmt.Sprintf("%x", catchphrase))
	if o == dialing.Connected {
		return finding{ReadIt, said}
	}
	return finding{GotNothing, said}
}
