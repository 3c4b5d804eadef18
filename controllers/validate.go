// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"regexp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/resources"
)

// The CRD's own rules judge every write, but a cluster may run an older CRD, or
// hold objects from before a rule. So the same rules, and the one that only the
// operator can know, are checked again before anything is done.

// Bounds of a spec.
const (
	maxNameLength     = 40
	maxReplicas       = 100
	maxClients        = 64
	maxMetricsPeers   = 8
	maxConnections    = 1_000_000
	maxSelectorLabels = 16
	maxExpressions    = 8
	maxValues         = 64
	maxTolerations    = 16
)

var (
	namePattern = regexp.MustCompile(`^[a-z]([-a-z0-9]*[a-z0-9])?$`)

	minMemory, maxMemory     = resource.MustParse("64Mi"), resource.MustParse("1Ti")
	minItemSize, maxItemSize = resource.MustParse("1Ki"), resource.MustParse("1Gi")
	minCPU, maxCPU           = resource.MustParse("1m"), resource.MustParse("256")

	adminCommands = []v1alpha1.AdminCommand{
		v1alpha1.AdminFlushAll, v1alpha1.AdminCacheMemlimit, v1alpha1.AdminVerbosity,
		v1alpha1.AdminStatsReset, v1alpha1.AdminStatsDetail, v1alpha1.AdminStatsConns,
		v1alpha1.AdminStatsCachedump, v1alpha1.AdminLRUCrawler, v1alpha1.AdminWatch,
	}
)

// problems collects what is wrong with a spec: the path of each field and what
// to write there, never the value, because status is read by more people than
// spec.
type problems []string

func (p *problems) add(path *field.Path, format string, args ...any) {
	*p = append(*p, path.String()+": "+fmt.Sprintf(format, args...))
}

func (p *problems) within(path *field.Path, q *resource.Quantity, low, high resource.Quantity) {
	if q != nil && (q.Cmp(low) < 0 || q.Cmp(high) > 0) {
		p.add(path, "must be from %s to %s", low.String(), high.String())
	}
}

// validate returns what is wrong with m; nothing when it can be acted on.
// reserved are the operator's own namespaces, which are nobody's clients.
func validate(m *v1alpha1.Memcache, reserved []string) problems {
	var p problems
	if len(m.Name) > maxNameLength || !namePattern.MatchString(m.Name) {
		p.add(field.NewPath("metadata", "name"),
			"must begin with a letter and go on with lower case letters, digits and '-', at most %d characters",
			maxNameLength)
	}
	spec := field.NewPath("spec")
	if n := resources.Replicas(m); n < 0 || n > maxReplicas {
		p.add(spec.Child("replicas"), "must be from 0 to %d", maxReplicas)
	}
	p.within(spec.Child("memory"), &m.Spec.Memory, minMemory, maxMemory)
	p.within(spec.Child("cpu"), m.Spec.CPU, minCPU, maxCPU)
	p.engine(spec.Child("engine"), m)
	access := spec.Child("access")
	p.peers(access.Child("clients"), m.Spec.Access.Clients, maxClients, reserved)
	p.peers(access.Child("metrics"), m.Spec.Access.Metrics, maxMetricsPeers, reserved)
	p.modes(access, &m.Spec.Access)
	p.placement(spec.Child("placement"), &m.Spec.Placement)
	return p
}

func (p *problems) engine(path *field.Path, m *v1alpha1.Memcache) {
	e := &m.Spec.Engine
	p.within(path.Child("maxItemSize"), e.MaxItemSize, minItemSize, maxItemSize)
	if resources.MaxItemSize(m) > m.Spec.Memory.Value()/2 {
		p.add(path.Child("maxItemSize"), "must be at most half of spec.memory")
	}
	if n := resources.MaxConnections(m); n < 1 || n > maxConnections {
		p.add(path.Child("maxConnections"), "must be from 1 to %d", maxConnections)
	}
	for i, c := range e.AdminCommands {
		if !slices.Contains(adminCommands, c) {
			p.add(path.Child("adminCommands").Index(i), "must be one of %v", adminCommands)
		}
	}
}

// modes refuses words that are not known, and modes that contradict each other.
func (p *problems) modes(path *field.Path, a *v1alpha1.AccessSpec) {
	mode, lock, verification := a.EffectiveMode(), a.EffectivePeers(), a.EffectiveVerification()
	if mode != v1alpha1.AccessEnforce && mode != v1alpha1.AccessAudit {
		p.add(path.Child("mode"), "must be %s or %s", v1alpha1.AccessEnforce, v1alpha1.AccessAudit)
	}
	if lock != v1alpha1.PeersPolicy && lock != v1alpha1.PeersVerified {
		p.add(path.Child("peers"), "must be %s or %s", v1alpha1.PeersPolicy, v1alpha1.PeersVerified)
	}
	known := []v1alpha1.Verification{
		v1alpha1.VerificationBestEffort, v1alpha1.VerificationRequired, v1alpha1.VerificationDisabled,
	}
	if !slices.Contains(known, verification) {
		p.add(path.Child("verification"), "must be one of %v", known)
	}
	if mode == v1alpha1.AccessAudit && (lock == v1alpha1.PeersVerified || verification == v1alpha1.VerificationRequired) {
		p.add(path.Child("mode"), "must not be %s with peers %s or verification %s",
			v1alpha1.AccessAudit, v1alpha1.PeersVerified, v1alpha1.VerificationRequired)
	}
}

func (p *problems) peers(path *field.Path, peers []v1alpha1.Peer, most int, reserved []string) {
	if len(peers) > most {
		p.add(path, "must have at most %d entries", most)
		return
	}
	seen := map[string]bool{}
	for i := range peers {
		peer, at := &peers[i], path.Index(i)
		if len(validation.IsDNS1123Label(peer.Name)) > 0 {
			p.add(at.Child("name"), "must be a DNS label, such as web")
		}
		if seen[peer.Name] {
			p.add(at.Child("name"), "must be unique in the list")
		}
		seen[peer.Name] = true
		p.selector(at.Child("namespaceSelector"), &peer.NamespaceSelector)
		p.namespaces(at.Child("namespaceSelector"), &peer.NamespaceSelector, reserved)
		if peer.PodSelector != nil {
			p.selector(at.Child("podSelector"), peer.PodSelector)
		}
	}
}

// selector checks bounds and grammar, so that a selector that Kubernetes would
// refuse is named here by its path.
func (p *problems) selector(path *field.Path, s *v1alpha1.LabelSelector) {
	if len(s.MatchLabels) > maxSelectorLabels || len(s.MatchExpressions) > maxExpressions {
		p.add(path, "must have at most %d matchLabels and %d matchExpressions", maxSelectorLabels, maxExpressions)
		return
	}
	for i, e := range s.MatchExpressions {
		if len(e.Values) > maxValues {
			p.add(path.Child("matchExpressions").Index(i).Child("values"), "must have at most %d entries", maxValues)
			return
		}
	}
	if _, err := metav1.LabelSelectorAsSelector(s.ToMetav1()); err != nil {
		p.add(path, "must be a valid label selector")
	}
}

// namespaces refuses selectors that admit strangers, and the operator's own
// namespaces.
func (p *problems) namespaces(path *field.Path, s *v1alpha1.LabelSelector, reserved []string) {
	picks := len(s.MatchLabels) > 0
	for i, e := range s.MatchExpressions {
		if e.Operator == v1alpha1.SelectorIn {
			picks = true
		} else if e.Key == corev1.LabelMetadataName {
			p.add(path.Child("matchExpressions").Index(i),
				"must name the namespaces that are meant, by operator In with values")
		}
		for _, v := range e.Values {
			if e.Key == corev1.LabelMetadataName && slices.Contains(reserved, string(v)) {
				p.add(path.Child("matchExpressions").Index(i), "must not name the operator's own namespaces")
			}
		}
	}
	if !picks {
		p.add(path, "must have a matchLabels entry or an expression with operator In, else it admits strangers")
	}
	if slices.Contains(reserved, string(s.MatchLabels[corev1.LabelMetadataName])) {
		p.add(path.Child("matchLabels"), "must not name the operator's own namespaces")
	}
}

func (p *problems) placement(path *field.Path, s *v1alpha1.PlacementSpec) {
	if len(s.NodeSelector) > maxSelectorLabels {
		p.add(path.Child("nodeSelector"), "must have at most %d labels", maxSelectorLabels)
	} else if _, err := metav1.LabelSelectorAsSelector(&metav1.LabelSelector{MatchLabels: s.NodeLabels()}); err != nil {
		p.add(path.Child("nodeSelector"), "must be valid labels")
	}
	if len(s.Tolerations) > maxTolerations {
		p.add(path.Child("tolerations"), "must have at most %d entries", maxTolerations)
		return
	}
	for i := range s.Tolerations {
		t := &s.Tolerations[i]
		if t.Key == "" && t.Operator != v1alpha1.TolerationExists {
			p.add(path.Child("tolerations").Index(i), "must have a key, or operator Exists to tolerate every taint")
		}
	}
	if s.PriorityClassName != "" && len(validation.IsDNS1123Subdomain(s.PriorityClassName)) > 0 {
		p.add(path.Child("priorityClassName"), "must be the name of a PriorityClass")
	}
	modes := []v1alpha1.SpreadMode{"", v1alpha1.SpreadPreferred, v1alpha1.SpreadRequired}
	if !slices.Contains(modes, s.Spread.Nodes) || !slices.Contains(modes, s.Spread.Zones) {
		p.add(path.Child("spread"), "must be %s or %s", v1alpha1.SpreadPreferred, v1alpha1.SpreadRequired)
	}
}
