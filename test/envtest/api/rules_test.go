// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package api

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// row is one spec that the API server is asked about by a dry run.
type row struct {
	name  string // A sentence: what is asked, and what should come of it.
	spec  string // The spec in YAML's flow style.
	field string // The one field that is refused; empty when the spec is accepted.
	want  string // Part of the refusal's message.
}

func ask(t *testing.T, rows []row) {
	t.Helper()
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			err := kube.Create(t.Context(), memcache(t, "asked", r.spec), client.DryRunAll)
			expect(t, err, r.field, r.want)
		})
	}
}

// expect checks that one field and no other was refused, with that message, or none at all.
func expect(t *testing.T, err error, field, want string) {
	t.Helper()
	if field == "" {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	status, ok := errors.AsType[*apierrors.StatusError](err)
	if !ok || !apierrors.IsInvalid(err) {
		t.Fatalf("got %v, want %s refused as invalid", err, field)
	}
	found := false
	for _, cause := range status.ErrStatus.Details.Causes {
		if cause.Field == "<nil>" {
			continue // The schema failed, so rules were not run: the API server says so without a field.
		}
		if strings.TrimPrefix(cause.Field, ".") != field {
			t.Errorf("refused besides: %s: %s", cause.Field, cause.Message)
		}
		found = found || strings.Contains(cause.Message, want)
	}
	if !found {
		t.Errorf("got %v\nwant %s refused with: %s", err, field, want)
	}
}

// with returns a spec with enough memory and the given fields.
func with(fields string) string { return "{memory: 64Mi, " + fields + "}" }

// clients returns a spec with one client of that namespace selector.
func clients(selector string) string {
	return with("access: {clients: [{name: web, namespaceSelector: " + selector + "}]}")
}

// times joins n texts, each made by format from its number.
func times(n int, format string) string {
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf(format, i)
	}
	return strings.Join(parts, ", ")
}

func TestNamesOfObjects(t *testing.T) {
	const (
		letters = "begins with a letter and goes on with lower case letters, digits and '-'"
		length  = "write at most 40 characters"
	)
	for _, r := range []struct{ name, is, want string }{
		{"a word is a name", "sessions", ""},
		{"one letter is a name", "s", ""},
		{"digits and dashes after the first letter are fine", "s-3-x9", ""},
		{"40 characters are the most", strings.Repeat("a", 40), ""},
		{"41 characters are too many", strings.Repeat("a", 41), length},
		{"a digit first would be no Service's name", "1sessions", letters},
		{"a dot would be no label of a host name", "my.sessions", letters},
	} {
		t.Run(r.name, func(t *testing.T) {
			err := kube.Create(t.Context(), memcache(t, r.is, "{memory: 64Mi}"), client.DryRunAll)
			if r.want == "" {
				expect(t, err, "", "")
				return
			}
			if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), r.want) {
				t.Fatalf("got %v, want a refusal with: %s", err, r.want)
			}
		})
	}
}

func TestSizes(t *testing.T) {
	const (
		memory      = "memory must be from 64Mi to 1Ti: write, for instance, 1Gi"
		cpu         = "cpu must be from 1m to 256"
		item        = "engine.maxItemSize must be from 1Ki to 1Gi"
		half        = "engine.maxItemSize must be at most half of memory"
		connections = "spec.engine.maxConnections"
	)
	ask(t, []row{
		{"memory alone makes a Memcache", "{memory: 64Mi}", "", ""},
		{"memory may be a number of bytes", "{memory: 67108864}", "", ""},
		{"memory may be 1Ti", "{memory: 1Ti}", "", ""},
		{"memory is required", "{replicas: 1}", "spec.memory", "Required value"},
		{"memory below 64Mi is refused", "{memory: 67108863}", "spec.memory", memory},
		{"memory above 1Ti is refused", "{memory: 1025Gi}", "spec.memory", memory},
		{"negative memory is refused", "{memory: -1Gi}", "spec.memory", memory},
		{"a quantity that no client can parse is refused", "{memory: 1e1.5}", "spec.memory", memory},
		{"a quantity of many digits is refused", "{memory: '" + strings.Repeat("0", 32) + "1Gi'}", "spec.memory", memory},
		{"a word is no quantity", "{memory: much}", "spec.memory", "should match"},

		{"cpu may be a fraction", with("cpu: 1m"), "", ""},
		{"cpu may be 256", with("cpu: 256"), "", ""},
		{"cpu of nothing is refused", with("cpu: 0"), "spec.cpu", cpu},
		{"cpu below 1m is refused", with("cpu: 900u"), "spec.cpu", cpu},
		{"cpu above 256 is refused", with("cpu: 256001m"), "spec.cpu", cpu},
		{"negative cpu is refused", with("cpu: '-1'"), "spec.cpu", cpu},
		{"cpu of many digits is refused", with("cpu: '" + strings.Repeat("0", 32) + "1'"), "spec.cpu", cpu},

		{"maxItemSize may be half of memory", with("engine: {maxItemSize: 32Mi}"), "", ""},
		{"maxItemSize may be 1Ki", with("engine: {maxItemSize: 1Ki}"), "", ""},
		{"maxItemSize may be 1Gi", "{memory: 2Gi, engine: {maxItemSize: 1Gi}}", "", ""},
		{"maxItemSize above half of memory is refused", with("engine: {maxItemSize: 33554433}"), "spec", half},
		{"maxItemSize below 1Ki is refused", with("engine: {maxItemSize: 1023}"), "spec.engine.maxItemSize", item},
		{"maxItemSize above 1Gi is refused", "{memory: 4Gi, engine: {maxItemSize: 1025Mi}}",
			"spec.engine.maxItemSize", item},
		{"maxItemSize of many digits is refused", with("engine: {maxItemSize: '" + strings.Repeat("0", 32) + "1Mi'}"),
			"spec.engine.maxItemSize", item},

		{"one connection is the least", with("engine: {maxConnections: 1}"), "", ""},
		{"a million connections are the most", with("engine: {maxConnections: 1000000}"), "", ""},
		{"no connections are refused", with("engine: {maxConnections: 0}"), connections, "greater than or equal to 1"},
		{"more than a million connections are refused", with("engine: {maxConnections: 1000001}"), connections,
			"less than or equal to 1000000"},

		{"no replicas are legal", with("replicas: 0"), "", ""},
		{"100 replicas are the most", with("replicas: 100"), "", ""},
		{"101 replicas are refused", with("replicas: 101"), "spec.replicas", "less than or equal to 100"},
		{"negative replicas are refused", with("replicas: -1"), "spec.replicas", "greater than or equal to 0"},
	})
}

func TestAdminCommands(t *testing.T) {
	ask(t, []row{
		{"an empty list means none", with("engine: {adminCommands: []}"), "", ""},
		{"every command may be listed",
			with("engine: {adminCommands: [FlushAll, CacheMemlimit, Verbosity, StatsReset, StatsDetail, StatsConns, " +
				"StatsCachedump, LRUCrawler, Watch]}"),
			"", ""},
		{"shutdown never runs in a fleet", with("engine: {adminCommands: [Shutdown]}"),
			"spec.engine.adminCommands[0]", "Unsupported value"},
		{"a command is listed once", with("engine: {adminCommands: [FlushAll, FlushAll]}"),
			"spec.engine.adminCommands[1]", "Duplicate value"},
	})
}

func TestNamespaceSelectors(t *testing.T) {
	const (
		field     = "spec.access.clients[0].namespaceSelector"
		strangers = "namespaceSelector would admit strangers: write a matchLabels entry"
		byValue   = "kubernetes.io/metadata.name is on every namespace: name the namespaces that you mean"
		values    = "operators In and NotIn need values, Exists and DoesNotExist take none"
		key       = "write name or domain/name"
	)
	expression := func(e string) string { return clients("{matchExpressions: [" + e + "]}") }
	labelled := func(rest string) string {
		return clients("{matchLabels: {team: shop}, matchExpressions: [" + rest + "]}")
	}
	ask(t, []row{
		{"a label admits the namespaces that carry it",
			clients(`{matchLabels: {client.memkeep.io/caches.sessions: "true"}}`), "", ""},
		{"the namespace's name by value is fine", clients("{matchLabels: {kubernetes.io/metadata.name: shop}}"), "", ""},
		{"the namespace's name in a list is fine",
			expression("{key: kubernetes.io/metadata.name, operator: In, values: [shop, web]}"), "", ""},
		{"an In expression is enough", expression("{key: team, operator: In, values: [shop]}"), "", ""},
		{"an exclusion may narrow a label", labelled("{key: stage, operator: NotIn, values: [test]}"), "", ""},
		{"Exists may narrow a label", labelled("{key: stage, operator: Exists}"), "", ""},
		{"DoesNotExist may narrow an In expression",
			expression("{key: team, operator: In, values: [shop]}, {key: stage, operator: DoesNotExist}"), "", ""},
		{"an empty value is a value", clients(`{matchLabels: {team: ""}}`), "", ""},

		{"no selector is refused", with("access: {clients: [{name: web}]}"), field, "Required value"},
		{"an empty selector is refused", clients("{}"), field, strangers},
		{"empty matchLabels are refused", clients("{matchLabels: {}}"), field, strangers},
		{"empty matchExpressions are refused", clients("{matchExpressions: []}"), field, strangers},
		{"Exists alone is refused", expression("{key: team, operator: Exists}"), field, strangers},
		{"NotIn alone is refused", expression("{key: team, operator: NotIn, values: [evil]}"), field, strangers},
		{"DoesNotExist alone is refused", expression("{key: team, operator: DoesNotExist}"), field, strangers},
		{"exclusions together are refused",
			expression("{key: a, operator: NotIn, values: [b]}, {key: c, operator: DoesNotExist}, " +
				"{key: d, operator: Exists}"), field, strangers},
		{"the namespace's name by NotIn is refused",
			labelled("{key: kubernetes.io/metadata.name, operator: NotIn, values: [x]}"), field, byValue},
		{"the namespace's name by Exists is refused", labelled("{key: kubernetes.io/metadata.name, operator: Exists}"),
			field, byValue},
		{"the namespace's name by DoesNotExist is refused",
			labelled("{key: kubernetes.io/metadata.name, operator: DoesNotExist}"), field, byValue},

		{"In without values is refused", expression("{key: team, operator: In}"), field + ".matchExpressions[0]", values},
		{"In with an empty list is refused", expression("{key: team, operator: In, values: []}"),
			field + ".matchExpressions[0]", values},
		{"NotIn without values is refused", labelled("{key: team, operator: NotIn}"),
			field + ".matchExpressions[0]", values},
		{"Exists with values is refused", labelled("{key: team, operator: Exists, values: [a]}"),
			field + ".matchExpressions[0]", values},
		{"an unknown operator is refused", labelled("{key: team, operator: Gt, values: ['1']}"),
			field + ".matchExpressions[0].operator", "Unsupported value"},
		{"a key with a space is refused", labelled("{key: my team, operator: Exists}"),
			field + ".matchExpressions[0].key", key},
		{"an empty key is refused", labelled("{key: '', operator: Exists}"),
			field + ".matchExpressions[0].key", "at least 1 chars long"},
		{"a value with a space is refused", expression("{key: team, operator: In, values: [my team]}"),
			field + ".matchExpressions[0].values[0]", "should match"},
		{"a label's key with a space is refused", clients("{matchLabels: {my team: a}}"), field + ".matchLabels", key},
		{"a client label with more than 63 characters after the slash is refused",
			clients("{matchLabels: {client.memkeep.io/" + strings.Repeat("n", 32) + "." +
				strings.Repeat("f", 31) + ": v}}"),
			field + ".matchLabels", key},
		{"a label's key with two slashes is refused", clients("{matchLabels: {a/b/c: a}}"), field + ".matchLabels", key},
		{"a label's value with a space is refused", clients("{matchLabels: {team: my team}}"),
			field + ".matchLabels.team", "should match"},
		{"metrics' selectors meet the same rules", with("access: {metrics: [{name: m, namespaceSelector: {}}]}"),
			"spec.access.metrics[0].namespaceSelector", strangers},
	})
}

func TestPeers(t *testing.T) {
	const field = "spec.access.clients[0]"
	peer := func(name, more string) string {
		return with("access: {clients: [{name: " + name + ", namespaceSelector: {matchLabels: {team: shop}}" + more + "}]}")
	}
	dns := "the name of a peer is a DNS label"
	ask(t, []row{
		{"nobody is named: nobody is admitted", with("access: {}"), "", ""},
		{"empty lists are legal", with("access: {clients: [], metrics: []}"), "", ""},
		{"a pod selector narrows", peer("web", ", podSelector: {matchLabels: {app: web}}"), "", ""},
		{"an empty pod selector means every pod there", peer("web", ", podSelector: {}"), "", ""},
		{"a pod selector may use Exists alone",
			peer("web", ", podSelector: {matchExpressions: [{key: app, operator: Exists}]}"), "", ""},
		{"a pod selector's keys are label keys", peer("web", ", podSelector: {matchLabels: {'a b': web}}"),
			field + ".podSelector.matchLabels", "write name or domain/name"},
		{"a pod selector's In needs values", peer("web", ", podSelector: {matchExpressions: [{key: app, operator: In}]}"),
			field + ".podSelector.matchExpressions[0]", "need values"},
		{"a peer's name may begin with a digit", peer("3web-x", ""), "", ""},
		{"a peer's name has at most 63 characters", peer(strings.Repeat("a", 64), ""),
			field + ".name", "may not be more than 63"},
		{"a peer's name is lower case", peer("Web", ""), field + ".name", dns},
		{"a peer's name ends with a letter or digit", peer("web-", ""), field + ".name", dns},
		{"a peer's name is not empty", peer("''", ""), field + ".name", "at least 1 chars long"},
		{"a peer has a name", with("access: {clients: [{namespaceSelector: {matchLabels: {team: shop}}}]}"),
			field + ".name", "Required value"},
		{"a name is used once", with("access: {clients: [{name: a, namespaceSelector: {matchLabels: {team: shop}}}, " +
			"{name: a, namespaceSelector: {matchLabels: {team: web}}}]}"), "spec.access.clients[1]", "Duplicate value"},
		{"a client and a scraper may share a name", with("access: {" +
			"clients: [{name: a, namespaceSelector: {matchLabels: {team: shop}}}], " +
			"metrics: [{name: a, namespaceSelector: {matchLabels: {team: shop}}}]}"), "", ""},
	})
}

func TestBoundsOfLists(t *testing.T) {
	list := func(kind string, n int) string {
		peers := times(n, "{name: p%d, namespaceSelector: {matchLabels: {team: shop}}}")
		return with("access: {" + kind + ": [" + peers + "]}")
	}
	labels := func(n int) string { return clients("{matchLabels: {" + times(n, "k%d: v") + "}}") }
	expressions := func(n int) string {
		return clients("{matchExpressions: [" + times(n, "{key: k%d, operator: In, values: [v]}") + "]}")
	}
	values := func(n int) string {
		return clients("{matchExpressions: [{key: k, operator: In, values: [" + times(n, "v%d") + "]}]}")
	}
	const selector = "spec.access.clients[0].namespaceSelector"
	ask(t, []row{
		{"64 clients are the most", list("clients", 64), "", ""},
		{"65 clients are refused", list("clients", 65), "spec.access.clients", "must have at most 64 items"},
		{"8 scrapers are the most", list("metrics", 8), "", ""},
		{"9 scrapers are refused", list("metrics", 9), "spec.access.metrics", "must have at most 8 items"},
		{"16 labels are the most", labels(16), "", ""},
		{"17 labels are refused", labels(17), selector + ".matchLabels", "must have at most 16"},
		{"8 expressions are the most", expressions(8), "", ""},
		{"9 expressions are refused", expressions(9), selector + ".matchExpressions", "must have at most 8 items"},
		{"64 values are the most", values(64), "", ""},
		{"65 values are refused", values(65), selector + ".matchExpressions[0].values", "must have at most 64 items"},
		{"16 node labels are the most", with("placement: {nodeSelector: {" + times(16, "k%d: v") + "}}"), "", ""},
		{"17 node labels are refused", with("placement: {nodeSelector: {" + times(17, "k%d: v") + "}}"),
			"spec.placement.nodeSelector", "must have at most 16"},
		{"16 tolerations are the most", with("placement: {tolerations: [" + times(16, "{key: k%d}") + "]}"), "", ""},
		{"17 tolerations are refused", with("placement: {tolerations: [" + times(17, "{key: k%d}") + "]}"),
			"spec.placement.tolerations", "must have at most 16 items"},
	})
}

func TestPlacement(t *testing.T) {
	const field = "spec.placement.tolerations[0]"
	toleration := func(s string) string { return with("placement: {tolerations: [" + s + "]}") }
	ask(t, []row{
		{"everything may be said", with("placement: {nodeSelector: {kubernetes.io/arch: amd64}, priorityClassName: high, " +
			"spread: {nodes: Required, zones: Preferred}, tolerations: [{key: dedicated, operator: Equal, value: cache, " +
			"effect: NoExecute, tolerationSeconds: 60}]}"), "", ""},
		{"a node label's key is a label key", with("placement: {nodeSelector: {'a b': c}}"),
			"spec.placement.nodeSelector", "write name or domain/name"},
		{"a node label's value is a label value", with("placement: {nodeSelector: {a: 'b c'}}"),
			"spec.placement.nodeSelector.a", "should match"},
		{"a priority class's name is lower case", with("placement: {priorityClassName: High}"),
			"spec.placement.priorityClassName", "write lower case letters"},
		{"a priority class's name has at most 253 characters",
			with("placement: {priorityClassName: " + strings.Repeat("a", 254) + "}"),
			"spec.placement.priorityClassName", "may not be more than 253"},
		{"nodes cannot be spread some other way", with("placement: {spread: {nodes: Never}}"),
			"spec.placement.spread.nodes", "Unsupported value"},
		{"zones cannot be spread some other way", with("placement: {spread: {zones: Never}}"),
			"spec.placement.spread.zones", "Unsupported value"},
		{"Exists without key tolerates everything", toleration("{operator: Exists}"), "", ""},
		{"no key and no Exists is refused", toleration("{effect: NoSchedule}"),
			field, "write operator: Exists if you mean that"},
		{"Exists takes no value", toleration("{key: a, operator: Exists, value: b}"),
			field, "operator Exists takes no value"},
		{"seconds need NoExecute", toleration("{key: a, effect: NoSchedule, tolerationSeconds: 5}"),
			field, "tolerationSeconds needs effect: NoExecute"},
		{"seconds need an effect", toleration("{key: a, tolerationSeconds: 5}"),
			field, "tolerationSeconds needs effect: NoExecute"},
		{"seconds are not negative", toleration("{key: a, effect: NoExecute, tolerationSeconds: -1}"),
			field + ".tolerationSeconds", "greater than or equal to 0"},
		{"seconds are at most a year", toleration("{key: a, effect: NoExecute, tolerationSeconds: 31536001}"),
			field + ".tolerationSeconds", "less than or equal to 31536000"},
		{"a taint's key is a label key", toleration("{key: a b}"), field + ".key", "write name or domain/name"},
		{"a taint's value is a label value", toleration("{key: a, value: b c}"), field + ".value", "should match"},
		{"an unknown effect is refused", toleration("{key: a, effect: Evict}"), field + ".effect", "Unsupported value"},
		{"an unknown operator is refused", toleration("{key: a, operator: Lt, value: '1'}"),
			field + ".operator", "Unsupported value"},
	})
}

func TestAccessModes(t *testing.T) {
	const field = "spec.access"
	access := func(fields string) string { return with("access: {" + fields + "}") }
	ask(t, []row{
		{"no mode at all is legal", access(""), "", ""},
		{"enforcing is legal", access("mode: Enforce"), "", ""},
		{"auditing is legal", access("mode: Audit"), "", ""},
		{"verified peers are legal", access("peers: Verified"), "", ""},
		{"required verification is legal", access("verification: Required"), "", ""},
		{"verified peers and required verification go together", access("peers: Verified, verification: Required"), "", ""},
		{"all that is strict goes together", access("mode: Enforce, peers: Verified, verification: Required"), "", ""},
		{"auditing goes with peers by policy", access("mode: Audit, peers: Policy"), "", ""},
		{"auditing goes with verification as good as it gets", access("mode: Audit, verification: BestEffort"), "", ""},
		{"auditing goes with no verification", access("mode: Audit, verification: Disabled"), "", ""},
		{"auditing refuses verified peers", access("mode: Audit, peers: Verified"), field, "leave out one of the two"},
		{"auditing refuses required verification", access("mode: Audit, verification: Required"), field,
			"leave out verification Required"},
		{"an unknown mode is refused", access("mode: Permissive"), field + ".mode", "supported values"},
		{"a mode in lower case is refused", access("mode: audit"), field + ".mode", "supported values"},
		{"an empty mode is refused", access("mode: \"\""), field + ".mode", "supported values"},
		{"unknown peers are refused", access("peers: Everyone"), field + ".peers", "supported values"},
		{"empty peers are refused", access("peers: \"\""), field + ".peers", "supported values"},
		{"an unknown verification is refused", access("verification: Optional"), field + ".verification", "supported values"},
		{"an empty verification is refused", access("verification: \"\""), field + ".verification", "supported values"},
	})
}
