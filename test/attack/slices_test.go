// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

const onlySlices = "a user who may only create EndpointSlices"

// slice is an EndpointSlice that adds addresses to a Service.
func slice(namespace, name, service string, addresses ...string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports: []discoveryv1.EndpointPort{{
			Name: new("memcache"), Port: new(int32(cachePort)), Protocol: new(corev1.ProtocolTCP),
		}},
	}
	s.Namespace, s.Name = namespace, name
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service, discoveryv1.LabelManagedBy: "attacker"}
	for _, address := range addresses {
		s.Endpoints = append(s.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{address}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)},
		})
	}
	return s
}

func sliceAttempts() []attempt {
	g := slicesGround
	named := func(name string) func(*testing.T, time.Duration) string {
		return func(t *testing.T, limit time.Duration) string { return g.widened(t, limit, "EndpointSlice", name) }
	}
	const both = "a user who may create Services and EndpointSlices, anywhere"
	why := "Kubernetes trusts whoever may write EndpointSlices, and its own roles give that to nobody (CVE-2021-25740)"
	return []attempt{
		{
			who: onlySlices, way: "add an address to the ring's Service, to receive what clients store",
			want: ReadIt, why: why, reported: widenedBySlice, report: named("ring-hijack"),
			try: func(t *testing.T, want Outcome) finding {
				as := user(t, "ring-hijack", g.key.Namespace, may("discovery.k8s.io", "endpointslices", "create"))
				hijack := slice(g.key.Namespace, "ring-hijack", g.key.Name, players.trap.Status.PodIP)
				if f := create(t, as, hijack); f != nil {
					return *f
				}
				return g.trappedByName(t, want)
			},
		},
		{
			who: onlySlices, way: "add an address to the ready Service, to receive what clients store",
			want: ReadIt, why: why, reported: widenedBySlice, report: named("ready-hijack"),
			try: func(t *testing.T, want Outcome) finding {
				as := user(t, "ready-hijack", g.key.Namespace, may("discovery.k8s.io", "endpointslices", "create"))
				hijack := slice(g.key.Namespace, "ready-hijack", g.key.Name+"-ready", players.trap.Status.PodIP)
				if f := create(t, as, hijack); f != nil {
					return *f
				}
				return until(want, func() finding { return trapped(t, g.names()[1:2]) })
			},
		},
		{
			who: both, way: "lead an address within the cluster to the members (no selector)",
			want: RefusedByNetwork, why: "the connection still arrives from the pod that dialled",
			try: func(t *testing.T, want Outcome) finding {
				return g.bySlice(t, want, "slice-plain", corev1.ServiceTypeClusterIP)
			},
		},
		{
			who: both, way: "lead a node's port to the members (no selector)",
			want: RefusedByNetwork,
			why: "no selector tells admission where it leads, but this plugin tells what arrives under the " +
				"node's address from the node; others do not",
			reported: widenedElsewhere, report: g.widenedFromElsewhere,
			try: func(t *testing.T, want Outcome) finding {
				return g.bySlice(t, want, "slice-nodeport", corev1.ServiceTypeNodePort)
			},
		},
	}
}

// trappedByName has clients look up the ring, as ring clients do, and store at
// every address that they are told.
func (g *ground) trappedByName(t *testing.T, want Outcome) finding {
	t.Helper()
	host, _, err := net.SplitHostPort(g.names()[0])
	if err != nil {
		t.Fatal(err)
	}
	return until(want, func() finding {
		o, said := dialer(t, g.client(), "lookup", host)
		if o != dialing.Connected {
			return finding{GotNothing, fmt.Sprintf("%s is %s", host, o)}
		}
		var addrs []string
		for _, address := range strings.Fields(said) {
			addrs = append(addrs, net.JoinHostPort(address, strconv.Itoa(cachePort)))
		}
		return trapped(t, addrs)
	})
}

// bySlice makes a Service without a selector in the attacker's namespace, whose
// endpoints are the members, and asks through it.
func (g *ground) bySlice(t *testing.T, want Outcome, name string, kind corev1.ServiceType) finding {
	t.Helper()
	as := user(t, name, outsideNS,
		may("", "services", "create"), may("discovery.k8s.io", "endpointslices", "create"))
	service := serviceOf(outsideNS, name, kind, nil)
	service.Spec.Ports[0].Name = "memcache"
	if f := create(t, as, service); f != nil {
		return *f
	}
	var addresses []string
	for i := range g.pods {
		addresses = append(addresses, g.pods[i].Status.PodIP)
	}
	if f := create(t, as, slice(outsideNS, name, name, addresses...)); f != nil {
		return *f
	}
	if kind == corev1.ServiceTypeClusterIP {
		addr := net.JoinHostPort(service.Spec.ClusterIP, "21211")
		g.worksFor(t, g.client(), addr)
		return everywhere(t, values(players.strangers), []string{addr})
	}
	var addrs []string
	for _, address := range players.addresses {
		addrs = append(addrs, net.JoinHostPort(address, strconv.Itoa(int(service.Spec.Ports[0].NodePort))))
	}
	return throughNodes(t, want, addrs)
}

const onlyPolicies = "a user who may only create NetworkPolicies"

func policyAttempts() []attempt {
	g := policiesGround
	return []attempt{{
		who: onlyPolicies, way: "add a policy that admits everybody to the fleet's pods",
		want:     ReadIt,
		why:      "policies add up, and Kubernetes knows no policy that forbids: give that right as carefully as the data",
		reported: widenedByPolicy,
		report: func(t *testing.T, limit time.Duration) string {
			return g.widened(t, limit, "NetworkPolicy", "everybody")
		},
		try: func(t *testing.T, want Outcome) finding {
			as := user(t, "everybody", g.key.Namespace, may("networking.k8s.io", "networkpolicies", "create"))
			if f := create(t, as, everybody(g.key.Namespace)); f != nil {
				return *f
			}
			return until(want, func() finding {
				return everywhere(t, []harness.Pod{values(players.strangers)[0]}, g.addresses(cachePort))
			})
		},
	}}
}
