// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"encoding/json"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
)

// FuzzJudge reads the input as every kind of object that is judged, well formed
// or not: there is always a verdict, it is the same the second time, and it has
// room in status.
func FuzzJudge(f *testing.F) {
	for _, seed := range []string{
		`{"podSelector":{},"ingress":[{"from":[{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.0.0.0/9","x"]}}]}]}`,
		`{"podSelector":{},"ingress":[{"ports":[{"port":11000,"endPort":11300},{"port":"memcache"}],
			"from":[{"podSelector":{"matchExpressions":[{"key":"a","operator":"NotIn","values":["b"]}]}}]}]}`,
		`{"type":"NodePort","selector":{"memkeep.io/name":"sessions"},"ports":[{"port":11211}],"externalIPs":["10.1.0.1"]}`,
		`{"ports":[{}],"endpoints":[{"addresses":["10.1.0.1","10.1.9.9"]}]}`,
		`{"endpointSelector":{},"ingress":[{"fromEndpoints":[{"matchLabels":{"k8s:a":"b"}}],
			"toPorts":[{"ports":[{"port":"99999999999","endPort":1}]}]}]}`,
		`{"subject":{"namespaces":{}},"ingress":[{"action":"Allow","from":[{"namespaces":{}}],
			"ports":[{"portRange":{"start":1,"end":65535}}]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		s := newStage(nil)
		p := policy("wide", func(*networkingv1.NetworkPolicy) {})
		if json.Unmarshal(data, &p.Spec) == nil {
			s.world.Policies = append(s.world.Policies, p)
		}
		service(func(v *corev1.Service) { _ = json.Unmarshal(data, &v.Spec) })(s)
		slice("caches", "sessions", func(v *discoveryv1.EndpointSlice) {
			name, labels := v.Name, v.Labels
			_ = json.Unmarshal(data, v)
			v.Namespace, v.Name, v.Labels = "caches", name, labels
		})(s)
		var spec map[string]any
		if json.Unmarshal(data, &spec) == nil {
			for _, kind := range [][2]string{
				{"cilium.io", "CiliumNetworkPolicy"}, {"policy.networking.k8s.io", "AdminNetworkPolicy"},
				{"networking.k8s.aws", "ApplicationNetworkPolicy"}, {"crd.projectcalico.org", "NetworkPolicy"},
			} {
				foreign(kind[0], kind[1], spec)(s)
			}
		}
		first, second := Judge(&s.fleet, &s.world), Judge(&s.fleet, &s.world)
		same := func(a, b Finding) bool { return a.Widening == b.Widening }
		if !slices.EqualFunc(first.WidenedBy, second.WidenedBy, same) ||
			!slices.Equal(first.NotJudged, second.NotJudged) {
			t.Errorf("once it is %+v, and then %+v", first, second)
		}
		for i := range first.WidenedBy {
			if w := &first.WidenedBy[i]; len(w.What) > maxWords || w.What == "" || w.Kind == "" || w.Name == "" {
				t.Errorf("there is no room for %+v", w)
			}
		}
	})
}
