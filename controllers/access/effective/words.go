// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// maxWords is what a Widening's What holds, in bytes.
const maxWords = 256

// told says what the first rule of an object does, to which ports, and for whom.
// path is the list of rules.
func told(path string, list []Excess) string {
	first := list[0].Rule
	var others []int
	byPort := map[int32]bool{}
	for _, e := range list {
		first = min(first, e.Rule)
	}
	who := ""
	for _, e := range list {
		switch {
		case e.Rule == first:
			byPort[e.Port] = true
			if who == "" {
				who = e.Who
			}
		case !slices.Contains(others, e.Rule):
			others = append(others, e.Rule)
		}
	}
	more := ""
	if n := len(others); n > 0 {
		more = fmt.Sprintf("; and %d more of its rules", n)
	}
	said := fmt.Sprintf("%s[%d] opens %s to %s", path, first, portWords(byPort), who)
	return cut(said, maxWords-len(more)) + more
}

// portWords names ports.
func portWords(set map[int32]bool) string {
	names := make([]string, 0, len(set))
	for _, port := range slices.Sorted(maps.Keys(set)) {
		names = append(names, strconv.Itoa(int(port)))
	}
	if len(names) == 1 {
		return "port " + names[0]
	}
	return "ports " + strings.Join(names, ", ")
}

// cut shortens what is too long.
func cut(s string, size int) string {
	if len(s) <= size {
		return s
	}
	return strings.ToValidUTF8(s[:size-3], "") + "..."
}

const maxPeers = 2

// several joins the first of a few peers.
func several(who []string) string {
	if len(who) <= maxPeers {
		return strings.Join(who, " and ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(who[:maxPeers], ", "), len(who)-maxPeers)
}

// whom says in words whom a peer picks. It tells the keys of selectors and no
// values: those may be names of other tenants' namespaces.
func whom(p *networkingv1.NetworkPolicyPeer) string {
	if p.IPBlock != nil {
		said := "addresses of " + p.IPBlock.CIDR
		if n := len(p.IPBlock.Except); n > 0 {
			said += fmt.Sprintf(" but %d of its ranges", n)
		}
		return said
	}
	pods := keys(p.PodSelector)
	said := "every pod"
	if pods != "" {
		said = "pods picked by " + pods
	}
	if p.NamespaceSelector == nil {
		return said + " of this namespace"
	}
	if spaces := keys(p.NamespaceSelector); spaces != "" {
		return said + " of namespaces picked by " + spaces
	}
	return said + " of every namespace"
}

// keys are the labels that a selector looks at.
func keys(s *metav1.LabelSelector) string {
	if s == nil {
		return ""
	}
	list := slices.Collect(maps.Keys(s.MatchLabels))
	for _, e := range s.MatchExpressions {
		list = append(list, e.Key)
	}
	slices.Sort(list)
	return strings.Join(slices.Compact(list), ", ")
}
