// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package access

import (
	"fmt"
	"net/netip"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// Player is a pod that takes part in a proof: a member, an outsider that dials
// it, or a decoy that the outsiders reach in its place.
type Player struct {
	// Name is the pod's name.
	Name string
	// UID is the pod's UID.
	UID types.UID
	// Node is where it runs.
	Node string
	// Addresses are the pod's own.
	Addresses []netip.Addr
}

// Cast is who there is for proofs.
type Cast struct {
	// Outsiders may connect to no fleet.
	Outsiders []Player
	// Decoys listen on the cache port behind no policy.
	Decoys []Player
}

// Place is where an outsider stands, seen from a member.
type Place string

// The places of outsiders. Some network plugins enforce nothing between pods of
// one node, others nothing between nodes.
const (
	SameNode    Place = "the same node"
	AnotherNode Place = "another node"
)

// Networks that are tried.
const (
	TCP = "tcp"
	UDP = "udp"
)

// Attempt is one thing that an outsider tries.
type Attempt struct {
	// From is where the outsider stands, and Outsider its UID.
	From     Place
	Outsider types.UID
	// Network is TCP or UDP, and To the address.
	Network string
	To      netip.AddrPort
	// Control tells that To is the decoy, which must answer.
	Control bool
}

// Plan is a round for one member: all of it is tried at the same time.
type Plan struct {
	// Member is whom the round is about.
	Member Player
	// Attempts are what outsiders try.
	Attempts []Attempt
	// WaysOut are decoys that the member itself tries to connect to.
	WaysOut []netip.AddrPort
	// Hindrance is why there can be no proof, with its reason; empty for none.
	Hindrance, Reason string
	// NotCovered is what the round does not try, and why.
	NotCovered []string
}

// Ports says which ports a round tries.
type Ports struct {
	// TLS tells that the member listens on the TLS port as well.
	TLS bool
	// SkipMetrics leaves the metrics port out, because outsiders are among those
	// whom the object admits there.
	SkipMetrics bool
}

// list returns what is tried at a member: first the ports that clients use.
func (p Ports) list() []uint16 {
	out := []uint16{v1alpha1.PortCache}
	if p.TLS {
		out = append(out, v1alpha1.PortCacheTLS)
	}
	if !p.SkipMetrics {
		out = append(out, v1alpha1.PortMetrics)
	}
	return append(out, v1alpha1.PortControl)
}

// PlanRound says who dials what for one member. turn picks another outsider on
// another node each time, so that in the course of rounds each has its turn.
func PlanRound(member Player, ports Ports, cast Cast, turn int) Plan {
	p := Plan{Member: member}
	near := slices.IndexFunc(cast.Outsiders, func(o Player) bool { return o.Node == member.Node })
	decoy := slices.IndexFunc(cast.Decoys, func(d Player) bool { return d.Node == member.Node })
	switch {
	case len(member.Addresses) == 0:
		p.Hindrance, p.Reason = member.Name+" has no address yet", v1alpha1.ReasonNotProven
		return p
	case len(cast.Outsiders) == 0:
		return p.hindered("there is no outsider that could dial")
	case near < 0:
		return p.hindered("there is no outsider on the node of " + member.Name)
	case decoy < 0:
		return p.hindered("there is no decoy on the node of " + member.Name)
	}
	p.from(SameNode, &cast.Outsiders[near], &cast.Decoys[decoy], ports)
	if far := another(cast.Outsiders, member.Node, turn); far != nil {
		p.from(AnotherNode, far, &cast.Decoys[decoy], ports)
	} else {
		p.NotCovered = append(p.NotCovered, "dialling from another node: there is no outsider on one")
	}
	if ports.SkipMetrics {
		p.NotCovered = append(p.NotCovered, "the metrics port: spec.access.metrics admits the probers' namespace")
	}
	for _, a := range member.Addresses {
		if i := ofFamily(cast.Decoys[decoy].Addresses, a); i >= 0 {
			p.WaysOut = append(p.WaysOut, netip.AddrPortFrom(cast.Decoys[decoy].Addresses[i], v1alpha1.PortCache))
		}
	}
	return p
}

func (p Plan) hindered(why string) Plan {
	p.Hindrance, p.Reason = why, v1alpha1.ReasonNoProber
	return p
}

// from adds what one outsider tries: every address of the member at every port,
// and the decoy at the same port and in the same family.
func (p *Plan) from(place Place, outsider, decoy *Player, ports Ports) {
	add := func(network string, host netip.Addr, port uint16, control bool) {
		p.Attempts = append(p.Attempts, Attempt{
			From: place, Outsider: outsider.UID, Network: network,
			To: netip.AddrPortFrom(host, port), Control: control,
		})
	}
	for _, host := range p.Member.Addresses {
		i := ofFamily(decoy.Addresses, host)
		if i < 0 || ofFamily(outsider.Addresses, host) < 0 {
			p.NotCovered = append(p.NotCovered,
				fmt.Sprintf("addresses of %s from %s: the probers have none", family(host), place))
			continue
		}
		for _, port := range ports.list() {
			add(TCP, host, port, false)
		}
		add(UDP, host, v1alpha1.PortCache, false)
		add(TCP, decoy.Addresses[i], v1alpha1.PortCache, true)
	}
}

func family(a netip.Addr) string {
	if a.Is4() {
		return "IPv4"
	}
	return "IPv6"
}

// ofFamily returns the index of the first address of the same family; -1 for none.
func ofFamily(addresses []netip.Addr, like netip.Addr) int {
	return slices.IndexFunc(addresses, func(a netip.Addr) bool { return a.Is4() == like.Is4() })
}

// another returns one of the outsiders on other nodes; nil for none.
func another(outsiders []Player, node string, turn int) *Player {
	var elsewhere []int
	for i := range outsiders {
		if outsiders[i].Node != node {
			elsewhere = append(elsewhere, i)
		}
	}
	if len(elsewhere) == 0 {
		return nil
	}
	return &outsiders[elsewhere[turn%len(elsewhere)]]
}

// Admits returns the name of the first entry that admits a pod with these
// labels in a namespace with these labels; empty for none.
func Admits(peers []v1alpha1.Peer, namespace, pod map[string]string) string {
	for i := range peers {
		p := &peers[i]
		if !selects(p.NamespaceSelector.ToMetav1(), namespace) {
			continue
		}
		if p.PodSelector == nil || selects(p.PodSelector.ToMetav1(), pod) {
			return p.Name
		}
	}
	return ""
}

// Labelled says what no round tries where an entry asks for pod labels; empty
// where none does. A prober would have to stand in a client's namespace, or wear
// a client's labels.
func Labelled(clients []v1alpha1.Peer) string {
	for i := range clients {
		if clients[i].PodSelector != nil {
			return "what the pod labels of spec.access.clients are worth: no prober stands in a client's namespace, " +
				"or has a client's labels"
		}
	}
	return ""
}

// selects tells whether a selector picks what has these labels. One that cannot
// be read is taken to pick it: who may be admitted is no outsider.
func selects(s *metav1.LabelSelector, set map[string]string) bool {
	selector, err := metav1.LabelSelectorAsSelector(s)
	return err != nil || selector.Matches(labels.Set(set))
}
