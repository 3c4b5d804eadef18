// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"testing"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

type object = map[string]any

func list(items ...any) []any { return items }

func labelled(key, value string) object { return object{"matchLabels": object{key: value}} }

var ours = labelled(v1alpha1.LabelName, "sessions")

func cilium(spec object) func(*stage) { return foreign("cilium.io", "CiliumNetworkPolicy", spec) }

// toPort are Cilium's toPorts with one port.
func toPort(fields object) []any { return list(object{"ports": list(fields)}) }

func TestCiliumsPolicies(t *testing.T) {
	at := toPort(object{"port": "11211", "protocol": "TCP"})
	said := func(what string) []string { return []string{"CiliumNetworkPolicy other: ingress[0] opens " + what} }
	with := func(rule object) func(*stage) {
		return cilium(object{"endpointSelector": ours, "ingress": list(rule)})
	}
	unclear := func(why string) string { return "CiliumNetworkPolicy.cilium.io other: " + why }
	check(t, map[string]row{
		"for everyone at a port": {with(object{"toPorts": at}), said("port 11211 to everyone"), ""},
		"for an entity":          {with(object{"fromEntities": list("world"), "toPorts": at}), said("port 11211 to the entities world"), ""},
		"for addresses":          {with(object{"fromCIDR": list("10.0.0.0/8")}), said(everyPort + " to ranges of addresses"), ""},
		"for every pod":          {with(object{"fromEndpoints": list(object{}), "toPorts": at}), said("port 11211 to every pod"), ""},
		"for pods by a label":    {with(object{"fromEndpoints": list(labelled("k8s:app", "web")), "toPorts": at}), said("port 11211 to pods picked by k8s:app"), ""},
		"for who is a client already": {with(object{"toPorts": at, "fromEndpoints": list(object{"matchLabels": object{
			"k8s:io.cilium.k8s.namespace.labels.team": "shop", "app": "web",
		}})}), nil, ""},
		"for pods of a namespace by its name": {with(object{"toPorts": at, "fromEndpoints": list(
			labelled("k8s:io.kubernetes.pod.namespace", "lab"))}),
			said("port 11211 to pods picked by k8s:io.kubernetes.pod.namespace"), ""},
		"by labels of Cilium's own": {with(object{"fromEndpoints": list(labelled("reserved:ingress", ""))}), nil,
			unclear("rule 0 selects by labels that only Cilium knows")},
		"for no endpoint":                {with(object{"fromEndpoints": list(), "toPorts": at}), nil, ""},
		"a rule that says nothing":       {with(object{}), nil, ""},
		"for another port":               {with(object{"toPorts": toPort(object{"port": "8080"})}), nil, ""},
		"for UDP":                        {with(object{"toPorts": toPort(object{"port": "11211", "protocol": "UDP"})}), nil, ""},
		"for a range of ports":           {with(object{"toPorts": toPort(object{"port": "9000", "endPort": int64(11211)})}), said("ports 9150, 11211 to everyone"), ""},
		"for a port by its name":         {with(object{"toPorts": toPort(object{"port": "metrics"})}), said("port 9150 to everyone"), ""},
		"for every port of any protocol": {with(object{"toPorts": toPort(object{"port": "0", "protocol": "ANY"})}), said(everyPort + " to everyone"), ""},
		"for ICMP alone":                 {with(object{"icmps": list(object{})}), nil, ""},
		"with a further demand":          {with(object{"fromEntities": list("all"), "authentication": object{"mode": "required"}}), nil, unclear("rule 0 has further demands")},
		"with a field that is not known": {with(object{"fromSpace": list("mars")}), nil, unclear("rule 0 has fields that this operator does not know")},
		"that selects others":            {cilium(object{"endpointSelector": labelled("app", "web"), "ingress": list(object{"toPorts": at})}), nil, ""},
		"that selects by Kubernetes' label": {cilium(object{"endpointSelector": labelled("k8s:apps.kubernetes.io/pod-index", "0"), "ingress": list(object{"toPorts": at})}),
			said("port 11211 to everyone"), ""},
		"that selects by labels of Cilium's own": {cilium(object{"endpointSelector": labelled("io.cilium.k8s.policy.cluster", "x"), "ingress": list(object{"toPorts": at})}), nil,
			unclear("whether it selects the fleet's pods is not known")},
		"that forbids":            {cilium(object{"endpointSelector": ours, "ingressDeny": list(object{"toPorts": at})}), nil, ""},
		"about what goes out":     {cilium(object{"endpointSelector": ours, "egress": list(object{})}), nil, ""},
		"about nodes":             {cilium(object{"nodeSelector": object{}, "ingress": list(object{"toPorts": at})}), nil, ""},
		"without a specification": {cilium(nil), nil, unclear("its ingress cannot be read")},
		"of another shape":        {cilium(object{"endpointSelector": ours, "ingress": "all"}), nil, unclear("its ingress cannot be read")},
	})
}

func TestPoliciesOfAdministrators(t *testing.T) {
	const group = "policy.networking.k8s.io"
	everyone := list(object{"namespaces": object{}})
	allow := func(more object) object {
		rule := object{"action": "Allow", "from": everyone}
		for k, v := range more {
			rule[k] = v
		}
		return rule
	}
	spec := func(subject object, rules ...any) object {
		return object{"priority": int64(5), "subject": subject, "ingress": rules}
	}
	allNamespaces := object{"namespaces": object{}}
	policy := func(kind string, s object) func(*stage) {
		return func(st *stage) {
			foreign(group, kind, s)(st)
			st.world.Foreign[len(st.world.Foreign)-1].Namespace = ""
		}
	}
	admin := func(s object) func(*stage) { return policy("AdminNetworkPolicy", s) }
	said := func(what string) []string { return []string{"AdminNetworkPolicy other: ingress[0] opens " + what} }
	unclear := func(why string) string { return "AdminNetworkPolicy." + group + " other: " + why }
	number := object{"portNumber": object{"protocol": "TCP", "port": int64(11211)}}
	span := object{"portRange": object{"protocol": "TCP", "start": int64(9000), "end": int64(11211)}}
	check(t, map[string]row{
		"that allows everything": {admin(spec(allNamespaces, allow(nil))), said(everyPort + " to every pod of every namespace"), ""},
		"for a port":             {admin(spec(allNamespaces, allow(object{"ports": list(number)}))), said("port 11211 to every pod of every namespace"), ""},
		"for a range":            {admin(spec(allNamespaces, allow(object{"ports": list(span)}))), said("ports 9150, 11211 to every pod of every namespace"), ""},
		"for a port by its name": {admin(spec(allNamespaces, allow(object{"ports": list(object{"namedPort": "control"})}))), said("port 11213 to every pod of every namespace"), ""},
		"for another port":       {admin(spec(allNamespaces, allow(object{"ports": list(object{"portNumber": object{"protocol": "TCP", "port": int64(80)}})}))), nil, ""},
		"for who is a client already": {admin(spec(allNamespaces, object{"action": "Allow", "ports": list(number), "from": list(object{
			"pods": object{"namespaceSelector": labelled("team", "till"), "podSelector": labelled("app", "web")},
		})})), nil, ""},
		"that selects this namespace by its label": {admin(spec(object{"namespaces": labelled("team", "data")}, allow(nil))), said(everyPort + " to every pod of every namespace"), ""},
		"that selects other namespaces":            {admin(spec(object{"namespaces": labelled("team", "shop")}, allow(nil))), nil, ""},
		"that selects other pods":                  {admin(spec(object{"pods": object{"namespaceSelector": object{}, "podSelector": labelled("app", "web")}}, allow(nil))), nil, ""},
		"that denies":                              {admin(spec(allNamespaces, object{"action": "Deny", "from": everyone})), nil, ""},
		"that denies before it allows":             {admin(spec(allNamespaces, object{"action": "Deny", "from": everyone}, allow(nil))), nil, unclear("it admits, and whether another rule forbids before it does is not worked out")},
		"with an action that is not known":         {admin(spec(allNamespaces, object{"action": "Maybe", "from": everyone})), nil, unclear("it has the action Maybe, which this operator does not know")},
		"with a peer that is not known":            {admin(spec(allNamespaces, object{"action": "Allow", "from": list(object{"moon": object{}})})), nil, unclear("it has fields that this operator does not know")},
		"with a peer that says nothing":            {admin(spec(allNamespaces, object{"action": "Allow", "from": list(object{})})), nil, unclear("rule 0 cannot be read")},
		"whose subject cannot be told without labels": {all(func(s *stage) { s.world.Namespace = nil }, admin(spec(object{"namespaces": labelled("team", "data")}, allow(nil)))), nil,
			unclear("whether it selects the fleet's pods is not known")},
		"of the baseline, which a NetworkPolicy overrides": {policy("BaselineAdminNetworkPolicy", spec(allNamespaces, allow(nil))), nil, ""},
		"of the baseline, and no policy of ours is there": {all(func(s *stage) { s.world.Policies = nil }, policy("BaselineAdminNetworkPolicy", spec(allNamespaces, allow(nil)))),
			[]string{"BaselineAdminNetworkPolicy other: ingress[0] opens " + everyPort +
				" to every pod of every namespace"}, ""},
		"of the cluster, that accepts at a port of TCP": {policy("ClusterNetworkPolicy", object{
			"tier": "Admin", "priority": int64(1), "subject": allNamespaces, "ingress": list(object{
				"action": "Accept", "from": everyone, "protocols": list(object{"tcp": object{"destinationPort": object{"number": int64(11211)}}}),
			}),
		}), []string{"ClusterNetworkPolicy other: ingress[0] opens port 11211 to every pod of every namespace"}, ""},
		"of the cluster, that accepts UDP": {policy("ClusterNetworkPolicy", object{
			"tier": "Admin", "priority": int64(1), "subject": allNamespaces, "ingress": list(object{
				"action": "Accept", "from": everyone, "protocols": list(object{"udp": object{}}),
			}),
		}), nil, ""},
		"of the cluster's baseline": {policy("ClusterNetworkPolicy", object{
			"tier": "Baseline", "priority": int64(1), "subject": allNamespaces, "ingress": list(allow(nil)),
		}), nil, ""},
	})
}

func TestPoliciesOfOtherProjects(t *testing.T) {
	const calico, antrea, aws = "crd.projectcalico.org", "crd.antrea.io", "networking.k8s.aws"
	allow, deny := list(object{"action": "Allow"}), list(object{"action": "Deny"})
	unclear := func(kind string) string {
		return kind + " other: this operator does not judge policies of this kind that admit"
	}
	check(t, map[string]row{
		"Calico's that allows is not judged":   {foreign(calico, "NetworkPolicy", object{"selector": "all()", "ingress": allow}), nil, unclear("NetworkPolicy." + calico)},
		"Calico's that denies does not matter": {foreign(calico, "NetworkPolicy", object{"selector": "all()", "ingress": deny}), nil, ""},
		"Calico's for what goes out":           {foreign(calico, "NetworkPolicy", object{"types": list("Egress"), "ingress": allow}), nil, ""},
		"Calico's view of Kubernetes' own": {all(foreign("projectcalico.org", "NetworkPolicy", object{"ingress": allow}), func(s *stage) {
			s.world.Foreign[0].Name = "knp.default.sessions"
		}), nil, ""},
		"Antrea's that drops does not matter": {foreign(antrea, "NetworkPolicy", object{"ingress": list(object{"action": "Drop"})}), nil, ""},
		"Antrea's that allows is not judged":  {foreign(antrea, "NetworkPolicy", object{"ingress": allow}), nil, unclear("NetworkPolicy." + antrea)},
		"AWS' that selects others":            {foreign(aws, "ApplicationNetworkPolicy", object{"podSelector": labelled("app", "web"), "ingress": list(object{})}), nil, ""},
		"AWS' that selects the fleet":         {foreign(aws, "ApplicationNetworkPolicy", object{"podSelector": object{}, "ingress": list(object{})}), nil, unclear("ApplicationNetworkPolicy." + aws)},
		"of another namespace": {all(foreign(calico, "NetworkPolicy", object{"ingress": allow}), func(s *stage) {
			s.world.Foreign[0].Namespace = "shop"
		}), nil, ""},
	})
}
