// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package secondopinion

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/mattfenwick/cyclonus/pkg/matcher"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/access/effective"
)

const (
	// worlds is how many are drawn, unless MEMKEEP_SECOND_OPINIONS says otherwise;
	// enough that every mistake tried in the evaluator was found.
	worlds = 20000
	// limit ends a run on a slow machine.
	limit = 25 * time.Second
	// least is how many have to be compared in that time.
	least = 500
	// strangers is how many connect in each.
	strangers = 10
)

func TestMain(m *testing.M) {
	flag.Parse()
	checks := strconv.Itoa(worlds)
	if asked := os.Getenv("MEMKEEP_SECOND_OPINIONS"); asked != "" {
		checks = asked
	}
	if err := flag.Set("rapid.checks", checks); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// opinion is cyclonus', of some policies.
type opinion struct{ *matcher.Policy }

func of(list ...*networkingv1.NetworkPolicy) opinion {
	var said []*networkingv1.NetworkPolicy
	for _, p := range list {
		said = append(said, forCyclonus(p)...)
	}
	return opinion{matcher.BuildNetworkPolicies(false, said)}
}

// admits tells whether somebody reaches a pod's port.
func (o opinion) admits(s *effective.Source, to *effective.Pod, port int32) bool {
	from := &matcher.TrafficPeer{IP: "198.51.100.1"}
	if s.Address.IsValid() {
		from.IP = s.Address.String()
	}
	if s.Namespace != nil {
		from.Internal = &matcher.InternalPeer{
			PodLabels: s.Labels, NamespaceLabels: s.Namespace, Namespace: s.Namespace[corev1.LabelMetadataName],
		}
	}
	i := slices.IndexFunc(to.Ports, func(p effective.Port) bool { return p.Number == port })
	return o.IsIngressOrEgressAllowed(&matcher.Traffic{
		Source: from,
		Destination: &matcher.TrafficPeer{IP: "198.51.100.2", Internal: &matcher.InternalPeer{
			PodLabels: to.Labels, Namespace: fleetNamespace, NamespaceLabels: map[string]string{},
		}},
		ResolvedPort: int(port), ResolvedPortName: to.Ports[i].Name, Protocol: corev1.ProtocolTCP,
	}, true).IsAllowed()
}

// source draws somebody who connects: a pod somewhere, or none.
func source(t *rapid.T, namespaces map[string]map[string]string) *effective.Source {
	s := &effective.Source{}
	if err := s.Address.UnmarshalText([]byte(pick(t, addresses, "address"))); err != nil {
		t.Fatal(err)
	}
	if !chance(t, 4, "no pod") {
		s.Namespace, s.Labels = namespaces[pick(t, spaces, "from")], labels(t, "")
		if chance(t, 5, "the operator") {
			s.Labels[v1alpha1.LabelComponent] = v1alpha1.ComponentOperator
		}
	}
	return s
}

func TestCyclonusSaysTheSame(t *testing.T) {
	started, compared, widened := time.Now(), 0, 0
	unlimited := os.Getenv("MEMKEEP_SECOND_OPINIONS") != ""
	rapid.Check(t, func(t *rapid.T) {
		if !unlimited && time.Since(started) > limit {
			return
		}
		if compared++; compared%2000 == 0 {
			fmt.Fprintf(os.Stderr, "%d worlds compared, %d widened, %v\n",
				compared, widened, time.Since(started).Round(time.Second))
		}
		if compare(t) {
			widened++
		}
	})
	t.Logf("%d worlds compared in %v, access widened in %d", compared, time.Since(started).Round(time.Second), widened)
	if compared < least || widened < compared/10 || compared-widened < compared/10 {
		t.Errorf("%d worlds compared, widened in %d: too few of either kind to say anything", compared, widened)
	}
}

// compare draws a world and compares; it tells whether access is widened there.
func compare(t *rapid.T) bool {
	m := memcache(t)
	own := rendered(t, m)
	var foreign []*networkingv1.NetworkPolicy
	for i := range rapid.IntRange(1, 2).Draw(t, "policies") {
		foreign = append(foreign, policy(t, fmt.Sprint("policy-", i)))
	}
	namespaces := map[string]map[string]string{}
	for _, name := range spaces {
		namespaces[name] = labels(t, name)
	}
	fleet := &effective.Fleet{
		Namespace: fleetNamespace, Name: fleetName, Own: own[0].Spec.Ingress,
		OwnPolicies: []types.UID{own[0].UID, own[1].UID}, Pods: pods(t, m),
	}
	known := namespaces[fleetNamespace]
	if chance(t, 8, "namespace not known") {
		known = nil
	}
	everybodys := slices.Concat(own, foreign)
	all, alone := of(everybodys...), of(own...)
	found := effective.Policies(fleet, everybodys, known)
	for range strangers {
		nobodyUnreported(t, fleet, found, source(t, namespaces), all, alone)
	}
	for i := range found {
		e := &found[i]
		if known == nil && e.Example.Namespace[corev1.LabelMetadataName] == fleetNamespace {
			continue // Whether there is such a pod depends on the labels.
		}
		pod := &fleet.Pods[slices.IndexFunc(fleet.Pods, func(p effective.Pod) bool { return p.Name == e.Pod })]
		if !all.admits(&e.Example, pod, e.Port) {
			t.Fatalf("reported is %+v, and cyclonus does not let it in", e)
		}
		if alone.admits(&e.Example, pod, e.Port) {
			t.Fatalf("reported is %+v, and the fleet's own policy lets it in by cyclonus", e)
		}
	}
	return len(found) > 0
}

// nobodyUnreported fails for somebody who gets in by cyclonus, and not by the
// fleet's own policy, at a port of which nothing is reported.
func nobodyUnreported(
	t *rapid.T, fleet *effective.Fleet, found []effective.Excess, s *effective.Source, all, alone opinion,
) {
	for i := range fleet.Pods {
		pod := &fleet.Pods[i]
		for _, port := range ports {
			if all.admits(s, pod, port) && !alone.admits(s, pod, port) &&
				!slices.ContainsFunc(found, func(e effective.Excess) bool { return e.Port == port }) {
				t.Fatalf("cyclonus lets %+v in to port %d of %+v; reported is %+v", s, port, pod, found)
			}
		}
	}
}
