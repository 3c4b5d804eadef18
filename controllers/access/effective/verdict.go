// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"cmp"
	"slices"

	"github.com/memkeep/memkeep/controllers/access"
)

// Judge says what admits more to a fleet than its own policy does, and what
// cannot be judged. World may be incomplete: what is not seen is not judged.
func Judge(f *Fleet, w *access.World) Verdict {
	var v Verdict
	v.NotJudged = append(v.NotJudged, w.Unseen...)
	found, senseless := policyFindings(f, w.Policies, w.Namespace)
	for _, name := range senseless {
		v.NotJudged = append(v.NotJudged, "NetworkPolicy "+name+" has a selector that makes no sense")
	}
	v.WidenedBy = append(v.WidenedBy, sliceFindings(f, w)...)
	v.WidenedBy = append(v.WidenedBy, serviceFindings(f, w)...)
	v.WidenedBy = append(v.WidenedBy, found...)
	v.WidenedBy = append(v.WidenedBy, podFindings(f)...)
	found, unknown := foreignFindings(f, w)
	v.WidenedBy = append(v.WidenedBy, found...)
	v.NotJudged = append(v.NotJudged, unknown...)
	slices.SortFunc(v.WidenedBy, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.severity, b.severity), cmp.Compare(a.Kind, b.Kind),
			cmp.Compare(a.Name, b.Name), cmp.Compare(a.What, b.What))
	})
	v.WidenedBy = slices.CompactFunc(v.WidenedBy, func(a, b Finding) bool {
		return a.Kind == b.Kind && a.Name == b.Name
	})
	slices.Sort(v.NotJudged)
	v.NotJudged = slices.Compact(v.NotJudged)
	return v
}
