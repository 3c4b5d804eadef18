// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"fmt"
	"maps"
	"net"
	"strconv"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/memkeep/memkeep/test/harness"
)

const onlyServices = "a user who may only create Services"

// serviceOf is a Service in a fleet's namespace that leads to cache ports.
func serviceOf(namespace, name string, kind corev1.ServiceType, selector map[string]string) *corev1.Service {
	s := &corev1.Service{Spec: corev1.ServiceSpec{
		Type: kind, Selector: selector,
		Ports: []corev1.ServicePort{{Name: "cache", Port: 21211, TargetPort: intstr.FromInt32(cachePort)}},
	}}
	s.Namespace, s.Name = namespace, name
	return s
}

// kubernetesOwn are labels that Kubernetes itself puts on a StatefulSet's pods.
func (g *ground) kubernetesOwn() map[string]string {
	return map[string]string{
		appsv1.StatefulSetPodNameLabel: g.pods[0].Name,
		appsv1.PodIndexLabel:           "0",
	}
}

func serviceAttempts() []attempt {
	g := servicesGround
	labels := g.fleetLabels()
	exposed := func(
		name string, selector func() map[string]string, change func(*corev1.Service),
	) func(*testing.T, Outcome) finding {
		return func(t *testing.T, want Outcome) finding {
			service := serviceOf(g.key.Namespace, name, corev1.ServiceTypeNodePort, selector())
			change(service)
			return g.throughService(t, want, service)
		}
	}
	fleet := func() map[string]string { return labels }
	const guarded = "a selector that can pick the fleet's pods may not lead in from outside (`memkeep-exposed-services`)"
	return []attempt{
		{
			who: onlyServices, way: "lead a node's port to the fleet by its labels (NodePort)",
			want: RefusedByAdmission, why: guarded,
			try: exposed("open-nodeport", fleet, func(*corev1.Service) {}),
		},
		{
			who: onlyServices, way: "lead a load balancer to the fleet (LoadBalancer)",
			want: RefusedByAdmission, why: guarded,
			try: exposed("open-balancer", fleet, func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeLoadBalancer }),
		},
		{
			who: onlyServices, way: "lead an external address to the fleet (externalIPs)",
			want: RefusedByAdmission, why: guarded,
			try: exposed("open-external", fleet, func(s *corev1.Service) {
				s.Spec.Type = corev1.ServiceTypeClusterIP
				for _, address := range players.addresses {
					s.Spec.ExternalIPs = append(s.Spec.ExternalIPs, address)
				}
			}),
		},
		{
			who: onlyServices, way: "lead a node's port to one member by labels that Kubernetes adds",
			want: RefusedByAdmission,
			why:  "the same beside a fleet, for labels that are nobody's (`memkeep-fleet-namespaces`)",
			try:  exposed("open-by-index", g.kubernetesOwn, func(*corev1.Service) {}),
		},
		{
			who: onlyServices, way: "lead an address within the cluster to the fleet (ClusterIP)",
			want: RefusedByNetwork, why: "the connection still arrives from the pod that dialled; plain Services are allowed",
			try: g.throughClusterIP,
		},
		{
			who: onlyServices, way: "take a member's address for a Service of its own (CVE-2020-8554)",
			want: ReadIt,
			why: "Kubernetes lets a Service claim any address in externalIPs: what clients on other nodes store " +
				"goes to the attacker",
			reported: widenedElsewhere, report: thiefGround.widenedFromElsewhere,
			try: thiefGround.claimAddress,
		},
	}
}

// throughService creates a Service and asks through every address that it has on the nodes.
func (g *ground) throughService(t *testing.T, want Outcome, service *corev1.Service) finding {
	t.Helper()
	as := user(t, service.Name, service.Namespace, may("", "services", "create"))
	if f := create(t, as, service); f != nil {
		return *f
	}
	var addrs []string
	for _, address := range players.addresses {
		for _, port := range service.Spec.Ports {
			if port.NodePort != 0 {
				addrs = append(addrs, net.JoinHostPort(address, strconv.Itoa(int(port.NodePort))))
			}
			if len(service.Spec.ExternalIPs) > 0 {
				addrs = append(addrs, net.JoinHostPort(address, strconv.Itoa(int(port.Port))))
			}
		}
	}
	return throughNodes(t, want, addrs)
}

// throughNodes asks at ports of nodes, as soon as the nodes know of them: before
// that they refuse, as any port does where nobody listens.
func throughNodes(t *testing.T, want Outcome, addrs []string) finding {
	t.Helper()
	deadline := time.Now().Add(openLimit)
	for {
		got := until(want, func() finding { return everywhere(t, values(players.strangers), addrs) })
		if got.outcome != GotNothing || time.Now().After(deadline) {
			return got
		}
	}
}

// throughClusterIP creates a plain Service, waits until it works for a client,
// and asks through it.
func (g *ground) throughClusterIP(t *testing.T, want Outcome) finding {
	t.Helper()
	as := user(t, "plain-service", g.key.Namespace, may("", "services", "create"))
	service := serviceOf(g.key.Namespace, "plain-service", corev1.ServiceTypeClusterIP, g.fleetLabels())
	if f := create(t, as, service); f != nil {
		return *f
	}
	addr := net.JoinHostPort(service.Spec.ClusterIP, "21211")
	g.worksFor(t, g.client(), addr)
	return until(want, func() finding { return everywhere(t, values(players.strangers), []string{addr}) })
}

// worksFor waits until a client reads the catchphrase over an address: what does
// not work for a client proves nothing about strangers.
func (g *ground) worksFor(t *testing.T, client harness.Pod, addr string) {
	t.Helper()
	if got := until(ReadIt, func() finding { return ask(t, client, addr) }); got.outcome != ReadIt {
		t.Fatalf("nothing is proven: a client does not get through %s either: %s", addr, got.saw)
	}
}

// claimAddress has a Service of the attacker's namespace claim a member's own
// address, and a client on every node speak to that member.
func (g *ground) claimAddress(t *testing.T, want Outcome) finding {
	t.Helper()
	as := user(t, "thief", outsideNS, may("", "services", "create"))
	service := serviceOf(outsideNS, "thief", corev1.ServiceTypeClusterIP, maps.Clone(players.trap.Labels))
	service.Spec.Ports[0].Port = cachePort
	service.Spec.ExternalIPs = []string{g.pods[0].Status.PodIP}
	if f := create(t, as, service); f != nil {
		return *f
	}
	return until(want, func() finding { return trapped(t, g.addresses(cachePort)) })
}

// trapped has clients store something at addresses and sees whether one of them
// is the attacker's trap.
func trapped(t *testing.T, addrs []string) finding {
	t.Helper()
	var found []finding
	for _, client := range values(players.clients) {
		for _, addr := range addrs {
			o, said := dialer(t, client, "talk", "--timeout", dialTimeout.String(), addr, "set stored-by-a-client 0 0 2", "hi")
			f := judge(o, fmt.Sprintf("%s stores at %s: %s, %q", client, addr, o, said))
			if f.outcome != ReadIt {
				f.outcome = GotNothing
			}
			found = append(found, f)
		}
	}
	return worst(found)
}
