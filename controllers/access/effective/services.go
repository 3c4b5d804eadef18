// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access"
)

// elsewhere stands for the name of what is in another namespace.
const elsewhere = "in another namespace"

// serviceFindings are the Services that lead to the fleet from outside, or take
// its addresses. A Service that is reached within the cluster only does neither:
// what it passes on still comes from the pod that dialled.
func serviceFindings(f *Fleet, w *access.World) []Finding {
	var out []Finding
	mine := f.addresses()
	for _, s := range w.Services {
		if taken := taken(s, mine); taken != "" {
			out = append(out, f.service(s, claimed, taken))
			continue
		}
		how := exposure(s)
		if how == "" {
			continue
		}
		if reached := leadsTo(f, s, w.Slices, mine); len(reached) > 0 {
			out = append(out, f.service(s, led, how+" leads to "+portWords(reached)))
		}
	}
	return together(out)
}

// service is a finding about a Service; one of another namespace is not named.
func (f *Fleet) service(s *corev1.Service, severity int, what string) Finding {
	out := Finding{
		Reason: v1alpha1.ReasonExposedByService, severity: severity,
		Widening: v1alpha1.Widening{Kind: "Service", Name: s.Name, What: cut(what, maxWords)},
	}
	if s.Namespace != f.Namespace {
		out.Name = elsewhere
		out.Unnamed = []types.NamespacedName{{Namespace: s.Namespace, Name: s.Name}}
	}
	return out
}

// together makes one finding of all Services that are not named.
func together(list []Finding) []Finding {
	var out, unnamed []Finding
	for _, f := range list {
		if f.Name == elsewhere {
			unnamed = append(unnamed, f)
		} else {
			out = append(out, f)
		}
	}
	if len(unnamed) == 0 {
		return out
	}
	one := slices.MinFunc(unnamed, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.severity, b.severity), cmp.Compare(a.What, b.What))
	})
	one.Unnamed = nil
	for i := range unnamed {
		one.Unnamed = append(one.Unnamed, unnamed[i].Unnamed...)
	}
	slices.SortFunc(one.Unnamed, func(a, b types.NamespacedName) int { return cmp.Compare(a.String(), b.String()) })
	if n := len(unnamed) - 1; n > 0 {
		more := fmt.Sprintf("; and %d more Services there", n)
		one.What = cut(one.What, maxWords-len(more)) + more
	}
	return append(out, one)
}

// addresses are those at which the fleet is reached, and whether each is a pod's.
func (f *Fleet) addresses() map[string]bool {
	out := map[string]bool{}
	for _, a := range f.Addresses {
		out[a] = false
	}
	for i := range f.Pods {
		for _, a := range f.Pods[i].Addresses {
			out[a] = true
		}
	}
	return out
}

// taken says that a Service takes an address of the fleet's as an external one;
// empty where it does not. The nodes then send elsewhere what is meant for the
// fleet (CVE-2020-8554).
func taken(s *corev1.Service, mine map[string]bool) string {
	for _, a := range access.Externals(s) {
		switch pod, there := mine[a]; {
		case !there:
		case pod:
			return "takes a member's address as its own external address"
		default:
			return "takes the address of the fleet's Service as its own external address"
		}
	}
	return ""
}

// exposure says by what a Service is reached from outside of the cluster; empty
// where it is not.
func exposure(s *corev1.Service) string {
	switch {
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer:
		return "a load balancer"
	case s.Spec.Type == corev1.ServiceTypeNodePort:
		return "a port of every node"
	case len(s.Spec.ExternalIPs) > 0:
		return "an external address"
	case len(s.Status.LoadBalancer.Ingress) > 0:
		return "a load balancer's address"
	}
	return ""
}

// leadsTo are the fleet's ports to which a Service leads, by its selector or by
// the slices that are its own.
func leadsTo(
	f *Fleet, s *corev1.Service, list []*discoveryv1.EndpointSlice, mine map[string]bool,
) map[int32]bool {
	out := map[int32]bool{}
	if s.Namespace == f.Namespace && len(s.Spec.Selector) > 0 {
		selector := labels.SelectorFromSet(s.Spec.Selector)
		for i := range f.Pods {
			if selector.Matches(labels.Set(f.Pods[i].Labels)) {
				for j := range s.Spec.Ports {
					f.Pods[i].target(&s.Spec.Ports[j], out)
				}
			}
		}
	}
	for _, slice := range list {
		if slice.Namespace == s.Namespace && slice.Labels[discoveryv1.LabelServiceName] == s.Name &&
			slices.ContainsFunc(endpoints(slice), func(a string) bool { _, ours := mine[a]; return ours }) {
			slicePorts(slice, out)
		}
	}
	return out
}

// target adds the fleet's ports that a Service's port leads to at the pod.
func (p *Pod) target(s *corev1.ServicePort, to map[int32]bool) {
	if cmp.Or(s.Protocol, corev1.ProtocolTCP) != corev1.ProtocolTCP {
		return
	}
	for _, port := range ports {
		t := s.TargetPort
		switch {
		case t.Type == intstr.String && t.StrVal != "" && p.names(t.StrVal, port),
			t.Type == intstr.Int && cmp.Or(t.IntVal, s.Port) == port:
			to[port] = true
		}
	}
}

// slicePorts adds the fleet's ports that a slice leads to; one without a number
// leads to all.
func slicePorts(s *discoveryv1.EndpointSlice, to map[int32]bool) {
	for i := range s.Ports {
		p := &s.Ports[i]
		if p.Protocol != nil && *p.Protocol != corev1.ProtocolTCP {
			continue
		}
		for _, port := range ports {
			if p.Port == nil || *p.Port == port {
				to[port] = true
			}
		}
	}
}

// endpoints are all addresses of a slice.
func endpoints(s *discoveryv1.EndpointSlice) []string {
	var out []string
	for i := range s.Endpoints {
		for _, a := range s.Endpoints[i].Addresses {
			out = append(out, access.Address(a))
		}
	}
	return out
}

// Strangers are the addresses, sorted, behind the fleet's own Services to which
// traffic is sent and which are no pod's of the fleet.
func Strangers(f *Fleet, w *access.World) []string {
	var out []string
	for _, list := range strangers(f, w) {
		out = append(out, list...)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// strangers are those addresses by the slice that brings them.
func strangers(f *Fleet, w *access.World) map[string][]string {
	mine := f.addresses()
	out := map[string][]string{}
	for _, s := range w.Slices {
		if s.Namespace != f.Namespace || !access.IsOwnService(f.Name, s.Labels[discoveryv1.LabelServiceName]) {
			continue
		}
		for i := range s.Endpoints {
			if !serves(&s.Endpoints[i].Conditions) {
				continue
			}
			for _, a := range s.Endpoints[i].Addresses {
				if a = access.Address(a); !mine[a] {
					out[s.Name] = append(out[s.Name], a)
				}
			}
		}
	}
	return out
}

// serves tells whether traffic may be sent to an endpoint: not knowing means
// yes, and one that terminates while it serves gets it where no other is ready.
func serves(c *discoveryv1.EndpointConditions) bool {
	yes := func(b *bool) bool { return b != nil && *b }
	return c.Ready == nil || *c.Ready || yes(c.Serving) && yes(c.Terminating)
}

// sliceFindings are the slices that send to strangers what is meant for the fleet.
func sliceFindings(f *Fleet, w *access.World) []Finding {
	var out []Finding
	for name, list := range strangers(f, w) {
		list = slices.DeleteFunc(list, func(a string) bool { return f.Passing[a] })
		if len(list) == 0 {
			continue
		}
		out = append(out, Finding{
			Reason: v1alpha1.ReasonForeignEndpoints, severity: diverted,
			Widening: v1alpha1.Widening{
				Kind: "EndpointSlice", Name: name,
				What: fmt.Sprintf("sends what is meant for the fleet to addresses that are not its pods': %d", len(list)),
			},
		})
	}
	return out
}

// podFindings are pods whose ports are ports of their node.
func podFindings(f *Fleet) []Finding {
	var out []Finding
	for i := range f.Pods {
		p, on := &f.Pods[i], map[int32]bool{}
		for _, port := range ports {
			if p.HostNetwork || slices.ContainsFunc(p.Ports, func(q Port) bool {
				return q.TCP && q.Host != 0 && q.Number == port
			}) {
				on[port] = true
			}
		}
		if len(on) == 0 {
			continue
		}
		what := "has on its node (hostPort) "
		if p.HostNetwork {
			what = "is on its node's network (hostNetwork) with "
		}
		out = append(out, Finding{
			Reason: v1alpha1.ReasonExposedByPod, severity: led,
			Widening: v1alpha1.Widening{Kind: "Pod", Name: p.Name, What: what + portWords(maps.Clone(on))},
		})
	}
	return out
}
