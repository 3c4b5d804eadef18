// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package admission

import (
	"fmt"
	"strings"
	"testing"
)

const (
	clientLabels = "memkeep-namespace-labels"
	accessOf     = "memkeep-access"
	needsGrant   = "needs the verb grant on that Memcache"
)

// times writes n client labels of the namespace caches.
func times(n int) string {
	var all []string
	for i := range n {
		all = append(all, fmt.Sprintf("client.memkeep.io/caches.fleet-%d: 'true'", i))
	}
	return strings.Join(all, ", ")
}

func TestClientLabels(t *testing.T) {
	label := func(labels string) string { return "{metadata: {labels: {" + labels + "}}}" }
	change := func(labels string) action { return patches("Namespace", "", "shop", "", label(labels)) }
	const sessions = "client.memkeep.io/caches.sessions"
	try(t, []row{
		{"who lacks the right sets no client label", tenant, change("client.memkeep.io/caches.other: 'true'"), clientLabels,
			"namespace shop: the label client.memkeep.io/caches.other"},
		{"nor removes one", tenant, change(sessions + ": null"), clientLabels, needsGrant},
		{"nor changes one", tenant, change(sessions + ": 'false'"), clientLabels, needsGrant},
		{"nor creates a namespace with one", tenant, creates(namespace("new", "{"+sessions+": 'true'}")), clientLabels,
			"namespace new: the label " + sessions},
		{"nor by way of the status", tenant,
			patches("Namespace", "", "shop", "status", label(sessions+": null")), clientLabels, needsGrant},
		{"nor by way of finalize", tenant, finalizes(label(sessions + ": null")), clientLabels, needsGrant},
		{"nor by server-side apply", tenant, applies(namespace("shop", "{client.memkeep.io/caches.other: 'true'}")),
			clientLabels, needsGrant},
		{"nor by writing the namespace whole", tenant, updates("Namespace", "", "shop", "{metadata: {labels: null}}"),
			clientLabels, needsGrant},
		{"nor does the operator", operator, change("client.memkeep.io/caches.other: 'true'"), clientLabels, needsGrant},
		{"the right in one namespace is none in another", owner, change("client.memkeep.io/bare.sessions: 'true'"),
			clientLabels, "client.memkeep.io/bare.sessions"},
		{"the right to one fleet is none to another", keeper, change("client.memkeep.io/caches.other: 'true'"),
			clientLabels, "ClusterRole memkeep-grant"},
		{"one label that is allowed does not carry another along", keeper,
			change(sessions + ": null, client.memkeep.io/caches.other: 'true'"), clientLabels, needsGrant},
		{"the last of eight labels is judged", keeper,
			change(times(7) + ", client.memkeep.io/bare.sessions: 'true'"), clientLabels, needsGrant},
		{"a label that names no fleet needs the right to all", owner, change("client.memkeep.io/caches: 'true'"),
			clientLabels, "Write it as the fleet's namespace, a dot and the name of the Memcache"},
		{"so does one with three parts", owner, change("client.memkeep.io/caches.a.b: 'true'"), clientLabels, "caches.a.b"},
		{"nine labels at once need the right to all", owner, change(times(9)), clientLabels,
			"Change at most 8 at a time"},

		{"who may grant in the fleet's namespace sets a label", owner, change("client.memkeep.io/caches.other: 'true'"), "", ""},
		{"and removes one", owner, change(sessions + ": null"), "", ""},
		{"and creates a namespace with one", owner, creates(namespace("new", "{"+sessions+": 'true'}")), "", ""},
		{"and may use the status and finalize", owner, finalizes(label(sessions + ": null")), "", ""},
		{"and changes eight at once", owner, change(times(8)), "", ""},
		{"who may grant one fleet sets its label", keeper, change(sessions + ": 'false'"), "", ""},
		{"who may grant everywhere sets any", grantor, change("client.memkeep.io/bare.sessions: 'true'"), "", ""},
		{"and twenty at once", grantor, change(times(20)), "", ""},
		{"and an administrator twenty at once", admin, change(times(20) + ", client.memkeep.io/odd: a"), "", ""},
		{"other labels are everybody's", tenant, change("team: null, stage: test"), "", ""},
		{"other domains are everybody's", tenant, change("client.memkeep.io.example.com/caches.sessions: 'true'"), "", ""},
		{"labels that stay are not judged", tenant,
			updates("Namespace", "", "shop", "{metadata: {annotations: {a: b}}}"), "", ""},
		{"a namespace without labels passes", tenant, creates(namespace("new", "{}")), "", ""},
		{"finalize passes where labels stay", tenant, finalizes("{metadata: {annotations: {a: b}}}"), "", ""},
	})
}

// TestEachClientLabelIsJudged has one forbidden label among two to eight. The API
// server has labels in no order, so every number is tried until each place was
// most likely taken.
func TestEachClientLabelIsJudged(t *testing.T) {
	for n := 2; n <= 8; n++ {
		label := "{metadata: {labels: {" + times(n-1) + ", client.memkeep.io/bare.sessions: 'true'}}}"
		for range 60 {
			if !refuses(t, owner, patches("Namespace", "", "shop", "", label)) {
				t.Fatalf("a forbidden label among %d is let through", n)
			}
		}
	}
}

func TestChangesOfAccess(t *testing.T) {
	const clients = "{clients: [{name: web, namespaceSelector: {matchLabels: {team: shop}}}]}"
	set := func(access string) action {
		return patches("Memcache", "caches", "sessions", "", "{spec: {access: "+access+"}}")
	}
	const says = "Memcache sessions: spec.access says who may use the fleet"
	try(t, []row{
		{"who may edit names no clients", tenant, set(clients), accessOf, says},
		{"nor scrapers", tenant, set("{metrics: [{name: web, namespaceSelector: {matchLabels: {team: shop}}}]}"),
			accessOf, "ClusterRole memkeep-grant"},
		{"nor admits everybody by mode Audit", tenant, set("{mode: Audit}"), accessOf, says},
		{"nor asks for no proof", tenant, set("{verification: Disabled}"), accessOf, says},
		{"nor creates a fleet that admits somebody", tenant, creates(fleet("caches", "new", clients)), accessOf,
			"Memcache new"},
		{"nor creates one in mode Audit", tenant, creates(fleet("caches", "new", "{mode: Audit}")), accessOf, "Memcache new"},
		{"nor by server-side apply", tenant, applies(fleet("caches", "sessions", clients)), accessOf, says},
		{"nor does who may grant another fleet", keeper, creates(fleet("caches", "new", clients)), accessOf, "Memcache new"},
		{"who may grant the fleet names clients", keeper, set(clients), "", ""},
		{"who may grant in the namespace creates a fleet with clients", owner,
			creates(fleet("caches", "new", clients)), "", ""},
		{"who may edit creates a fleet for nobody", tenant, creates(fleet("caches", "new", "{}")), "", ""},
		{"and one that asks for more than the policy", tenant,
			creates(fleet("caches", "new", "{mode: Enforce, peers: Verified, verification: Required}")), "", ""},
		{"and changes all but access", tenant, patches("Memcache", "caches", "sessions", "",
			"{spec: {replicas: 5, memory: 128Mi}}"), "", ""},
		{"and scales", tenant, patches("Memcache", "caches", "sessions", "scale", "{spec: {replicas: 5}}"), "", ""},
	})
}
