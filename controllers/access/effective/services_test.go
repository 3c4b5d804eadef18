// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

func TestServicesThatLeadInFromOutside(t *testing.T) {
	kind := func(k corev1.ServiceType) func(*corev1.Service) { return func(s *corev1.Service) { s.Spec.Type = k } }
	selecting := func(key, value string) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.Selector = map[string]string{key: value} }
	}
	to := func(port intstr.IntOrString) func(*corev1.Service) {
		return func(s *corev1.Service) { s.Spec.Ports[0].TargetPort = port }
	}
	byNode := []string{"Service door: a port of every node leads to port 11211"}
	check(t, map[string]row{
		"a node's port":   {service(func(*corev1.Service) {}), byNode, ""},
		"a load balancer": {service(kind(corev1.ServiceTypeLoadBalancer)), []string{"Service door: a load balancer leads to port 11211"}, ""},
		"an external address": {service(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.ExternalIPs = corev1.ServiceTypeClusterIP, []string{"192.0.2.1"}
		}), []string{"Service door: an external address leads to port 11211"}, ""},
		"a load balancer that somebody wrote into its status": {service(func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeClusterIP
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "192.0.2.1"}}
		}), []string{"Service door: a load balancer's address leads to port 11211"}, ""},
		"an address within the cluster widens nothing": {service(kind(corev1.ServiceTypeClusterIP)), nil, ""},
		"the label of a pod's ordinal":                 {service(selecting("apps.kubernetes.io/pod-index", "1")), byNode, ""},
		"the label of a pod's name":                    {service(selecting("statefulset.kubernetes.io/pod-name", "sessions-0")), byNode, ""},
		"the label of a revision":                      {service(selecting("controller-revision-hash", "abc")), byNode, ""},
		"a selector that picks no pod of the fleet":    {service(selecting(v1alpha1.LabelName, "carts")), nil, ""},
		"no selector and no slice leads nowhere":       {service(func(s *corev1.Service) { s.Spec.Selector = nil }), nil, ""},
		"a target by number":                           {service(to(intstr.FromInt32(9150))), []string{"Service door: a port of every node leads to port 9150"}, ""},
		"no target is the Service's own port":          {service(func(s *corev1.Service) { s.Spec.Ports[0] = corev1.ServicePort{Port: cache} }), byNode, ""},
		"a target where no pod listens":                {service(to(intstr.FromInt32(8080))), nil, ""},
		"UDP leads nowhere": {service(func(s *corev1.Service) {
			s.Spec.Ports[0].Protocol = corev1.ProtocolUDP
		}), nil, ""},
		"the same selector in another namespace picks others": {service(func(s *corev1.Service) { s.Namespace = "shop" }), nil, ""},
		"the fleet's own Service, changed": {service(func(s *corev1.Service) { s.Name = "sessions" }),
			[]string{"Service sessions: a port of every node leads to port 11211"}, ""},
	})
}

func TestServicesWithoutASelector(t *testing.T) {
	bare := func(namespace, name string) func(*stage) {
		return service(func(s *corev1.Service) { s.Namespace, s.Name, s.Spec.Selector = namespace, name, nil })
	}
	portOf := func(port *int32, protocol *corev1.Protocol) func(*discoveryv1.EndpointSlice) {
		return func(s *discoveryv1.EndpointSlice) {
			s.Ports = []discoveryv1.EndpointPort{{Port: port, Protocol: protocol}}
		}
	}
	byNode := "a port of every node leads to port 11211"
	check(t, map[string]row{
		"with a slice of the fleet's addresses": {
			all(bare("caches", "door"), slice("caches", "door", nil, "10.1.0.2")), []string{"Service door: " + byNode}, "",
		},
		"in another namespace it is not named": {
			all(bare("shop", "door"), slice("shop", "door", nil, "10.1.0.2")),
			[]string{"Service in another namespace: " + byNode}, "",
		},
		"several in other namespaces are counted": {
			all(bare("shop", "door"), slice("shop", "door", nil, "10.1.0.2"),
				bare("till", "gate"), slice("till", "gate", nil, "10.1.0.1")),
			[]string{"Service in another namespace: " + byNode + "; and 1 more Services there"}, "",
		},
		"through the fleet's own Service": {
			all(bare("shop", "door"), slice("shop", "door", nil, "10.96.0.9")),
			[]string{"Service in another namespace: " + byNode}, "",
		},
		"a slice of another Service": {all(bare("caches", "door"), slice("caches", "gate", nil, "10.1.0.2")), nil, ""},
		"a slice of other addresses": {all(bare("caches", "door"), slice("caches", "door", nil, "10.1.0.9")), nil, ""},
		"a slice of a port where nobody listens": {
			all(bare("caches", "door"), slice("caches", "door", portOf(new(int32(80)), nil), "10.1.0.2")), nil, "",
		},
		"a slice of UDP": {
			all(bare("caches", "door"), slice("caches", "door", portOf(new(int32(cache)), new(corev1.ProtocolUDP)), "10.1.0.2")),
			nil, "",
		},
		"a slice of every port": {
			all(bare("caches", "door"), slice("caches", "door", portOf(nil, nil), "10.1.0.2")),
			[]string{"Service door: a port of every node leads to " + everyPort}, "",
		},
	})
}

func TestServicesThatTakeAddresses(t *testing.T) {
	taking := func(address string, change func(*corev1.Service)) func(*stage) {
		return service(func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Selector = corev1.ServiceTypeClusterIP, nil
			s.Spec.ExternalIPs = []string{address}
			change(s)
		})
	}
	check(t, map[string]row{
		"a member's":                             {taking("10.1.0.1", func(*corev1.Service) {}), []string{"Service door: takes a member's address as its own external address"}, ""},
		"that of the Service":                    {taking("10.96.0.9", func(*corev1.Service) {}), []string{"Service door: takes the address of the fleet's Service as its own external address"}, ""},
		"in the name of the fleet's own Service": {taking("10.1.0.1", func(s *corev1.Service) { s.Name = "sessions" }), []string{"Service sessions: takes a member's address as its own external address"}, ""},
		"in another notation":                    {taking("::ffff:10.1.0.1", func(*corev1.Service) {}), []string{"Service door: takes a member's address as its own external address"}, ""},
		"in another namespace":                   {taking("10.1.0.1", func(s *corev1.Service) { s.Namespace = "shop" }), []string{"Service in another namespace: takes a member's address as its own external address"}, ""},
		"through the status of a load balancer": {taking("192.0.2.1", func(s *corev1.Service) {
			s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "10.1.0.2"}}
		}), []string{"Service door: takes a member's address as its own external address"}, ""},
		"another address": {taking("192.0.2.1", func(*corev1.Service) {}), nil, ""},
	})
}

func TestStrangersBehindTheFleetsServices(t *testing.T) {
	with := func(c discoveryv1.EndpointConditions) func(*discoveryv1.EndpointSlice) {
		return func(s *discoveryv1.EndpointSlice) { s.Endpoints[len(s.Endpoints)-1].Conditions = c }
	}
	one := []string{"EndpointSlice planted: sends what is meant for the fleet to addresses that are not its pods': 1"}
	check(t, map[string]row{
		"behind the ring":                 {slice("caches", "sessions", nil, "10.1.0.1", "10.1.9.9"), one, ""},
		"behind the Service of the ready": {slice("caches", "sessions-ready", nil, "10.1.9.9"), one, ""},
		"the fleet's pods are none":       {slice("caches", "sessions", nil, "10.1.0.1", "10.1.0.2"), nil, ""},
		"behind another Service":          {slice("caches", "carts", nil, "10.1.9.9"), nil, ""},
		"in another namespace":            {slice("shop", "sessions", nil, "10.1.9.9"), nil, ""},
		"one that is not ready":           {slice("caches", "sessions", with(discoveryv1.EndpointConditions{Ready: new(false)}), "10.1.9.9"), nil, ""},
		"one that serves while it ends":   {slice("caches", "sessions", with(discoveryv1.EndpointConditions{Ready: new(false), Serving: new(true), Terminating: new(true)}), "10.1.9.9"), one, ""},
		"one that was a pod's a moment ago": {all(slice("caches", "sessions", nil, "10.1.9.9"), func(s *stage) {
			s.fleet.Passing = map[string]bool{"10.1.9.9": true}
		}), nil, ""},
	})
	s := newStage(slice("caches", "sessions", nil, "10.1.9.9", "10.1.0.1", "10.1.8.8"))
	if got := Strangers(&s.fleet, &s.world); !slices.Equal(got, []string{"10.1.8.8", "10.1.9.9"}) {
		t.Errorf("strangers are %q", got)
	}
}

func TestPodsWithPortsOfTheirNode(t *testing.T) {
	check(t, map[string]row{
		"hostPort": {func(s *stage) { s.fleet.Pods[1].Ports[0].Host = 31211 },
			[]string{"Pod sessions-1: has on its node (hostPort) port 11211"}, ""},
		"hostNetwork": {func(s *stage) { s.fleet.Pods[0].HostNetwork = true },
			[]string{"Pod sessions-0: is on its node's network (hostNetwork) with " + everyPort}, ""},
		"hostPort of another port": {func(s *stage) {
			s.fleet.Pods[1].Ports = append(s.fleet.Pods[1].Ports, Port{Number: 8080, Host: 8080, TCP: true})
		}, nil, ""},
	})
}

func TestTheWorstComesFirst(t *testing.T) {
	exposed := service(func(*corev1.Service) {})
	thief := service(func(s *corev1.Service) {
		s.Name, s.Spec.Type, s.Spec.ExternalIPs = "thief", corev1.ServiceTypeClusterIP, []string{"10.1.0.1"}
	})
	s := newStage(all(exposed, wide(rule(cache)), thief, slice("caches", "sessions", nil, "10.1.9.9")))
	var got []string
	for _, f := range Judge(&s.fleet, &s.world).WidenedBy {
		got = append(got, f.Reason+" "+f.Name)
	}
	want := []string{"ForeignEndpoints planted", "ExposedByService thief", "WidenedByPolicy wide", "ExposedByService door"}
	if !slices.Equal(got, want) {
		t.Errorf("the order is %q", got)
	}
}
