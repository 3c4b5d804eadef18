// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

// guarded are the fleets that the access tests dial.
type guarded struct {
	sessions, picky, nobody []corev1.Pod
}

// guardedFleets makes three fleets: one with clients and a scraper, one that asks for a
// pod label beside the namespace's, and one that names nobody.
func guardedFleets(t *testing.T) guarded {
	t.Helper()
	const ns = "e2e-access"
	namespace(t, ns)
	sessions := harness.NewFleet(ns, "sessions", 2)
	sessions.Spec.Access.Metrics = []memkeepv1alpha1.Peer{{
		Name:              "scrapers",
		NamespaceSelector: harness.SelectLabels(map[string]string{corev1.LabelMetadataName: scraperNS}),
	}}
	picky := harness.NewFleet(ns, "picky", 1)
	picky.Spec.Access.Clients[0].PodSelector = new(harness.SelectLabels(map[string]string{"app": "web"}))
	nobody := harness.NewFleet(ns, "nobody", 1)
	nobody.Spec.Access.Clients = []memkeepv1alpha1.Peer{}
	for _, mc := range []*memkeepv1alpha1.Memcache{sessions, picky, nobody} {
		check(t, cluster.Create(t.Context(), mc))
	}
	return guarded{sessions: ready(t, fleets[0]), picky: ready(t, fleets[1]), nobody: ready(t, fleets[2])}
}

// access dials every fleet from everywhere.
func access(t *testing.T) {
	t.Helper()
	g := guardedFleets(t)
	cache := harness.CacheAddress(&g.sessions[0])
	_, decoy := strangerTo(&g.sessions[0])
	denied := func(t *testing.T, from harness.Pod, addr string) {
		t.Helper()
		if _, err := cluster.ShutOut(t.Context(), from, decoy, addr); err != nil {
			t.Error(err)
		}
	}
	admitted := func(t *testing.T, from harness.Pod, addr string) {
		t.Helper()
		if _, err := cluster.LetIn(t.Context(), from, addr, harness.LabelLimit); err != nil {
			t.Error(err)
		}
	}
	group := func(name string, f func(t *testing.T)) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f(t)
		})
	}
	group("a client stores and reads back", func(t *testing.T) {
		transcript, err := cluster.Store(t.Context(), players.friend, cache)
		check(t, err)
		t.Log(transcript)
	})
	group("a client finds the cache by the names in status", func(t *testing.T) {
		mc := &memkeepv1alpha1.Memcache{}
		check(t, cluster.Get(t.Context(), fleets[0], mc))
		e := mc.Status.Endpoints
		if e == nil || e.Ring == "" || e.Ready == "" {
			t.Fatalf("status.endpoints is %+v", e)
		}
		admitted(t, players.friend, e.Ring)
		admitted(t, players.friend, e.Ready)
		admitted(t, players.friend, g.sessions[1].Name+"."+e.Ring)
	})
	group("a stranger on any node is shut out of every fleet", func(t *testing.T) {
		shutOut(t, append(append(g.sessions, g.picky...), g.nobody...))
	})
	group("a pod in the fleet's own namespace is a stranger", func(t *testing.T) {
		pod, err := cluster.StartPod(t.Context(), harness.DialerPod{Namespace: fleets[0].Namespace, Name: "neighbour"})
		check(t, err)
		denied(t, harness.Pod{Namespace: pod.Namespace, Name: pod.Name}, cache)
	})
	group("an absent client list lets nobody in", func(t *testing.T) {
		addr := harness.CacheAddress(&g.nobody[0])
		denied(t, players.friend, addr)
		denied(t, players.web, addr)
		denied(t, players.scraper, addr)
	})
	group("a pod selector is and-ed with the namespace selector", func(t *testing.T) {
		addr := harness.CacheAddress(&g.picky[0])
		admitted(t, players.web, addr)
		denied(t, players.friend, addr)
		denied(t, players.lost, addr)
	})
	group("each audience reaches its own port only", func(t *testing.T) {
		metrics := harness.MetricsAddress(&g.sessions[0])
		outcome, body, err := cluster.Fetch(t.Context(), players.scraper, "http://"+metrics+"/metrics")
		check(t, err)
		if outcome != dialing.Connected || !strings.Contains(body, "memcached_up 1") {
			t.Errorf("the scraper's GET /metrics: %s\n%.2000s", outcome, body)
		}
		denied(t, players.friend, metrics)
		denied(t, players.scraper, cache)
	})
	group("a port-forward finds nobody", func(t *testing.T) {
		pod := harness.Pod{Namespace: g.sessions[0].Namespace, Name: g.sessions[0].Name}
		for _, port := range []int{memkeepv1alpha1.PortCache, memkeepv1alpha1.PortMetrics} {
			outcome, cause, err := cluster.ForwardedTalk(t.Context(), pod, port, "version")
			check(t, err)
			if outcome == dialing.Connected || !strings.Contains(cause, "refused") {
				t.Errorf("port %d through a port-forward: %s, %q", port, outcome, cause)
			}
		}
	})
	group("the API server's proxy executes nothing", func(t *testing.T) { proxyExecutesNothing(t, &g.sessions[1]) })
	group("nothing leaves a cache pod and its own address is refused", func(t *testing.T) {
		nothingLeaves(t, &g.sessions[1], decoy)
	})
}

// proxyExecutesNothing posts memcached commands through the API server's proxy,
// which no policy stops, and looks whether one was executed.
func proxyExecutesNothing(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	body := "set smuggled 0 0 3\r\nyes\r\n"
	for name, path := range map[string]string{
		"pods/proxy":     fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:11211/proxy/", pod.Namespace, pod.Name),
		"services/proxy": fmt.Sprintf("/api/v1/namespaces/%s/services/sessions-ready:11211/proxy/", pod.Namespace),
	} {
		answer, err := cluster.Kube.CoreV1().RESTClient().Post().AbsPath(path).
			SetHeader("Content-Type", "text/plain").Body([]byte(body)).DoRaw(t.Context())
		t.Logf("%s: %q, %v", name, answer, err)
		if err == nil {
			t.Errorf("%s had an answer that passes for HTTP: %q", name, answer)
		}
		if strings.Contains(string(answer), "STORED") {
			t.Errorf("%s: the cache executed what the body says: %q", name, answer)
		}
	}
	for _, member := range []string{"sessions-0", "sessions-1"} {
		addr := fmt.Sprintf("%s.sessions.%s.svc:11211", member, pod.Namespace)
		transcript, err := cluster.Talk(t.Context(), players.friend, addr, "get smuggled")
		check(t, err)
		if r := transcript.Replies(); len(r) != 1 || r[0] != "END" {
			t.Errorf("a body sent through the proxy was executed at %s: %s", member, transcript)
		}
	}
}

// nothingLeaves dials out of a cache pod's own network.
func nothingLeaves(t *testing.T, pod *corev1.Pod, decoy string) {
	t.Helper()
	_, err := cluster.Debug(t.Context(), pod)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "would share the network of a cache") {
		t.Errorf("an ephemeral container in a cache pod: %v, want it refused by the admission policy", err)
	}
	inside, err := cluster.DebugUnguarded(t.Context(), pod)
	check(t, err)
	apiserver, err := cluster.Kube.CoreV1().Services("default").Get(t.Context(), "kubernetes", metav1.GetOptions{})
	check(t, err)
	for what, addr := range map[string]string{
		"a pod":          decoy,
		"the API server": "kubernetes.default.svc:443",
		"its address":    net.JoinHostPort(apiserver.Spec.ClusterIP, "443"),
	} {
		report, err := cluster.Dial(t.Context(), inside, addr, harness.DialTimeout)
		check(t, err)
		if report.Outcome == dialing.Connected {
			t.Errorf("a cache pod connects to %s (%s)", what, addr)
		}
	}
	if control, err := cluster.Dial(t.Context(), players.friend, decoy, harness.DialTimeout); err != nil {
		t.Error(err)
	} else if control.Outcome != dialing.Connected {
		t.Errorf("nothing is proven: the decoy is %s from elsewhere too", control.Outcome)
	}
	own, err := cluster.Talk(t.Context(), inside, harness.CacheAddress(pod), "version")
	check(t, err)
	if own.Outcome != dialing.Closed && own.Outcome != dialing.Reset {
		t.Errorf("the cache serves its own address: %s", own)
	}
	loopback, err := cluster.Dial(t.Context(), inside, "127.0.0.1:11211", harness.DialTimeout)
	check(t, err)
	if loopback.Outcome != dialing.Refused {
		t.Errorf("127.0.0.1:11211 inside a cache pod is %s, want refused", loopback.Outcome)
	}
}

func labelsLetInAndShutOut(t *testing.T) {
	t.Helper()
	key := fleets[3]
	namespace(t, key.Namespace)
	const guests = "e2e-guests"
	namespace(t, guests)
	pods := create(t, harness.NewFleet(key.Namespace, key.Name, 1))
	_, decoy := strangerTo(&pods[0])
	_, err := cluster.StartPod(t.Context(), harness.DialerPod{Namespace: guests, Name: "guest"})
	check(t, err)
	guest, addr := harness.Pod{Namespace: guests, Name: "guest"}, harness.CacheAddress(&pods[0])
	_, err = cluster.ShutOut(t.Context(), guest, decoy, addr)
	check(t, err)

	ns := &corev1.Namespace{}
	ns.Name = guests
	label := memkeepv1alpha1.ClientLabel(key.Namespace, key.Name)
	check(t, cluster.Label(t.Context(), ns, map[string]string{label: "true"}))
	took, err := cluster.LetIn(t.Context(), guest, addr, harness.LabelLimit)
	check(t, err)
	_, err = cluster.Store(t.Context(), guest, addr)
	check(t, err)
	t.Logf("let in %.1f s after the label", took.Seconds())

	check(t, cluster.Label(t.Context(), ns, map[string]string{label: ""}))
	took, err = cluster.KeptOut(t.Context(), guest, decoy, addr, harness.LabelLimit)
	check(t, err)
	t.Logf("shut out %.1f s after the label was removed", took.Seconds())
}

// isBroken reports whether an error is a promise that was seen broken, and not
// something that kept the check from being made.
func isBroken(err error) bool {
	_, broken := errors.AsType[*harness.BrokenError](err)
	return broken
}
