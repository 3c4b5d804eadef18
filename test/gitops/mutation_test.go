// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gitops

import (
	"slices"
	"testing"
	"time"
)

// The CRD of the chart, and a place inside a list item.
const (
	crdYAML = "charts/memkeep/files/crd/customresourcedefinition-memcaches.memkeep.io.yaml"
	item    = "\n                        effect:\n"
	filled  = item + "                          default: NoSchedule\n"
	// settle is how long drift must last.
	settle = 6 * time.Second
)

// defaultInAListItem gives the CRD a default where there must be none, and
// wants to see that server-side apply alone is out of sync for it: what quiet
// is there to find.
func defaultInAListItem(t *testing.T) {
	revision := repos.platform.edit(t, crdYAML, item, filled)
	check(t, refresh(t.Context(), operatorApp, "normal"))
	untilWell(t, operatorApp, revision, time.Minute)
	for _, m := range modes {
		// What Argo CD knows of an object is as old as its last change.
		revision := repos.teams[m.name].edit(t, "caches/odd.yaml", "maxItemSize: 1048576", "maxItemSize: 2097152")
		check(t, refresh(t.Context(), m.app, "normal"))
		until(t, m.app, "synced once", time.Minute, func(s *state) bool {
			return slices.ContainsFunc(s.History, func(h history) bool { return h.Revision == revision })
		})
	}
	time.Sleep(settle)
	for _, w := range watchAll(t, appsOf(modes), settle) {
		t.Logf("FIGURE with a default inside a list item, %s: %d deviations %.300v", w.name, len(w.deviations), w.deviations)
	}
	alone := modes[slices.IndexFunc(modes, func(m mode) bool { return m.serverApply && !m.serverDiff })]
	if s := look(t, alone.app); s.Sync.Status != "OutOfSync" {
		t.Errorf("%s: %s: nothing that quiet sees is proven", alone.app, s)
	}
	revision = repos.platform.edit(t, crdYAML, filled, item)
	check(t, refresh(t.Context(), operatorApp, "normal"))
	untilWell(t, operatorApp, revision, time.Minute)
	for _, m := range modes {
		revision := repos.teams[m.name].edit(t, "caches/odd.yaml", "maxItemSize: 2097152", "maxItemSize: 1048576")
		check(t, refresh(t.Context(), m.app, "normal"))
		untilWell(t, m.app, revision, time.Minute)
	}
}
