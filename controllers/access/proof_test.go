// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

func player(name, node string, addresses ...string) Player {
	p := Player{Name: name, UID: types.UID("uid-" + name), Node: node}
	for _, a := range addresses {
		p.Addresses = append(p.Addresses, netip.MustParseAddr(a))
	}
	return p
}

func castOf(nodes ...string) Cast {
	var c Cast
	for i, n := range nodes {
		c.Outsiders = append(c.Outsiders, player("outsider-"+n, n, fmt.Sprintf("10.0.%d.2", i)))
		c.Decoys = append(c.Decoys, player("decoy-"+n, n, fmt.Sprintf("10.0.%d.3", i)))
	}
	return c
}

// script writes a plan in lines.
func script(p *Plan) []string {
	var out []string
	for _, a := range p.Attempts {
		kind := "must fail"
		if a.Control {
			kind = "must succeed"
		}
		out = append(out, fmt.Sprintf("%s on %s: %s %s %s", a.Outsider, a.From, a.Network, a.To, kind))
	}
	for _, w := range p.WaysOut {
		out = append(out, fmt.Sprintf("the member: tcp %s must fail", w))
	}
	if p.Hindrance != "" {
		out = append(out, p.Reason+": "+p.Hindrance)
	}
	for _, n := range p.NotCovered {
		out = append(out, "not covered: "+n)
	}
	return out
}

func TestWhoDialsWhom(t *testing.T) {
	member := player("sessions-0", "n1", "10.0.0.9")
	near := []string{
		"uid-outsider-n1 on the same node: tcp 10.0.0.9:11211 must fail",
		"uid-outsider-n1 on the same node: tcp 10.0.0.9:9150 must fail",
		"uid-outsider-n1 on the same node: tcp 10.0.0.9:11213 must fail",
		"uid-outsider-n1 on the same node: udp 10.0.0.9:11211 must fail",
		"uid-outsider-n1 on the same node: tcp 10.0.0.3:11211 must succeed",
	}
	out := "the member: tcp 10.0.0.3:11211 must fail"
	tests := map[string]struct {
		member Player
		ports  Ports
		cast   Cast
		want   []string
	}{
		"on one node": {member, Ports{}, castOf("n1"), slices.Concat(near, []string{
			out, "not covered: dialling from another node: there is no outsider on one",
		})},
		"on two nodes": {member, Ports{}, castOf("n1", "n2"), slices.Concat(near, []string{
			"uid-outsider-n2 on another node: tcp 10.0.0.9:11211 must fail",
			"uid-outsider-n2 on another node: tcp 10.0.0.9:9150 must fail",
			"uid-outsider-n2 on another node: tcp 10.0.0.9:11213 must fail",
			"uid-outsider-n2 on another node: udp 10.0.0.9:11211 must fail",
			"uid-outsider-n2 on another node: tcp 10.0.0.3:11211 must succeed",
			out,
		})},
		"with TLS, and metrics that are open to the outsiders": {
			member, Ports{TLS: true, SkipMetrics: true}, castOf("n1"), []string{
				"uid-outsider-n1 on the same node: tcp 10.0.0.9:11211 must fail",
				"uid-outsider-n1 on the same node: tcp 10.0.0.9:11212 must fail",
				"uid-outsider-n1 on the same node: tcp 10.0.0.9:11213 must fail",
				"uid-outsider-n1 on the same node: udp 10.0.0.9:11211 must fail",
				"uid-outsider-n1 on the same node: tcp 10.0.0.3:11211 must succeed",
				out,
				"not covered: dialling from another node: there is no outsider on one",
				"not covered: the metrics port: spec.access.metrics admits the probers' namespace",
			},
		},
		"without probers": {member, Ports{}, Cast{}, []string{"NoProber: there is no outsider that could dial"}},
		"without an outsider beside the member": {member, Ports{}, castOf("n2", "n3"), []string{
			"NoProber: there is no outsider on the node of sessions-0",
		}},
		"without a decoy beside the member": {
			member, Ports{}, Cast{Outsiders: castOf("n1").Outsiders, Decoys: castOf("n0", "n2").Decoys},
			[]string{"NoProber: there is no decoy on the node of sessions-0"},
		},
		"without an address": {player("sessions-0", "n1"), Ports{}, castOf("n1"), []string{
			"NotProven: sessions-0 has no address yet",
		}},
		"with an address family that the probers lack": {
			player("sessions-0", "n1", "10.0.0.9", "fd00::9"), Ports{}, castOf("n1"), slices.Concat(near, []string{
				out,
				"not covered: addresses of IPv6 from the same node: the probers have none",
				"not covered: dialling from another node: there is no outsider on one",
			}),
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			p := PlanRound(c.member, c.ports, c.cast, 0)
			if got := script(&p); !slices.Equal(got, c.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(c.want, "\n"))
			}
		})
	}
}

func TestEveryOtherNodeHasItsTurn(t *testing.T) {
	seen := map[types.UID]int{}
	for turn := range 6 {
		p := PlanRound(player("sessions-0", "n2", "10.0.1.9"), Ports{}, castOf("n1", "n2", "n3", "n4"), turn)
		for _, a := range p.Attempts {
			if a.From == AnotherNode && a.Control {
				seen[a.Outsider]++
			}
		}
	}
	if len(seen) != 3 || seen["uid-outsider-n1"] != 2 || seen["uid-outsider-n2"] != 0 {
		t.Errorf("turns were %v", seen)
	}
}

func TestWhoeverMayBeAdmittedIsNoOutsider(t *testing.T) {
	namespace := map[string]string{corev1.LabelMetadataName: "memkeep-system-outsider", "tier": "restricted"}
	pod := map[string]string{"app": "prober"}
	entry := func(name string, labels, podLabels map[string]v1alpha1.LabelValue) v1alpha1.Peer {
		p := v1alpha1.Peer{Name: name, NamespaceSelector: v1alpha1.LabelSelector{MatchLabels: labels}}
		if podLabels != nil {
			p.PodSelector = &v1alpha1.LabelSelector{MatchLabels: podLabels}
		}
		return p
	}
	web := entry("web", map[string]v1alpha1.LabelValue{"client": "true"}, nil)
	broken := v1alpha1.Peer{Name: "broken", NamespaceSelector: v1alpha1.LabelSelector{
		MatchExpressions: []v1alpha1.LabelSelectorRequirement{{Key: "a", Operator: "Nonsense"}},
	}}
	tests := map[string]struct {
		peers []v1alpha1.Peer
		want  string
	}{
		"nobody is named":                           {nil, ""},
		"others are named":                          {[]v1alpha1.Peer{web}, ""},
		"the namespace is picked by a common label": {[]v1alpha1.Peer{web, entry("all", map[string]v1alpha1.LabelValue{"tier": "restricted"}, nil)}, "all"},
		"the namespace is picked, the pods are not": {[]v1alpha1.Peer{entry("some", map[string]v1alpha1.LabelValue{"tier": "restricted"}, map[string]v1alpha1.LabelValue{"app": "web"})}, ""},
		"both are picked":                           {[]v1alpha1.Peer{entry("both", map[string]v1alpha1.LabelValue{"tier": "restricted"}, map[string]v1alpha1.LabelValue{"app": "prober"})}, "both"},
		"a selector cannot be read":                 {[]v1alpha1.Peer{broken}, "broken"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Admits(c.peers, namespace, pod); got != c.want {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}
