// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

// The namespaces that are no fleet's.
const (
	// clientsNS carries every fleet's client label; its pods with app=web are clients.
	clientsNS = "attack-clients"
	// outsideNS has no label: whoever is in it is a stranger.
	outsideNS = "attack-outside"
	// privilegedNS takes every pod, as a namespace of node agents does.
	privilegedNS = "attack-privileged"
	// decoysNS has the decoys, which no policy guards.
	decoysNS = "attack-decoys"
	// usersNS has the attackers' ServiceAccounts.
	usersNS = "attack-users"
)

// fleetName is the name of every fleet here.
const fleetName = "sessions"

// catchphrase is the value of the key catchphrase. It differs in every run, so
// that whoever has it has read it from a cache.
var catchphrase = "marked-" + strings.ToLower(rand.Text())

// web are the pod labels that a client must have beside its namespace's.
var web = map[string]string{"app": "web"}

// ground is a fleet in a namespace of its own. Attackers whose attempts would
// open or disturb a fleet for others have a ground for themselves.
type ground struct {
	key  client.ObjectKey
	pods []corev1.Pod
}

// The grounds.
var (
	mainGround      = &ground{key: client.ObjectKey{Namespace: "attack-main", Name: fleetName}}
	servicesGround  = &ground{key: client.ObjectKey{Namespace: "attack-services", Name: fleetName}}
	slicesGround    = &ground{key: client.ObjectKey{Namespace: "attack-slices", Name: fleetName}}
	workloadsGround = &ground{key: client.ObjectKey{Namespace: "attack-workloads", Name: fleetName}}
	podsGround      = &ground{key: client.ObjectKey{Namespace: "attack-pods", Name: fleetName}}
	policiesGround  = &ground{key: client.ObjectKey{Namespace: "attack-policies", Name: fleetName}}
	editorGround    = &ground{key: client.ObjectKey{Namespace: "attack-editor", Name: fleetName}}
	labelsGround    = &ground{key: client.ObjectKey{Namespace: "attack-labels", Name: fleetName}}
	auditGround     = &ground{key: client.ObjectKey{Namespace: "attack-audit", Name: fleetName}}
	thiefGround     = &ground{key: client.ObjectKey{Namespace: "attack-thief", Name: fleetName}}
	// proxyGround is on the API server's node: from there its proxy reaches pods past every policy.
	proxyGround = &ground{key: client.ObjectKey{Namespace: "attack-proxy", Name: fleetName}}
	// verifiedGround serves the addresses of client pods alone.
	verifiedGround = &ground{key: client.ObjectKey{Namespace: "attack-verified", Name: fleetName}}

	grounds = []*ground{
		mainGround, servicesGround, slicesGround, workloadsGround, podsGround, policiesGround, editorGround, labelsGround,
		auditGround, thiefGround, proxyGround, verifiedGround,
	}
)

// cast is who dials.
type cast struct {
	nodes []string
	// clients, strangers, forgers and hosts are one a node: a real client, a pod in
	// an unlabelled namespace, one there with the client's pod label, and a pod on the node's own network.
	clients, strangers, forgers, hosts map[string]harness.Pod
	// halfway is in the clients' namespace and lacks the pod label.
	halfway harness.Pod
	// decoys are addresses that everybody reaches, by node.
	decoys map[string]string
	// trap is a pod of the attacker that answers whoever connects with "DECOY".
	trap *corev1.Pod
	// addresses are the nodes' own.
	addresses map[string]string
}

var players cast

// stage makes the fleets and everybody who dials, side by side, and has a client
// store the catchphrase at every member.
func stage(ctx context.Context) error {
	if err := namespaces(ctx); err != nil {
		return err
	}
	for _, g := range grounds {
		mc := harness.NewFleet(g.key.Namespace, g.key.Name, 1)
		if g == mainGround {
			mc.Spec.Replicas = new(int32(2))
			mc.Spec.Placement.Spread.Nodes = memkeepv1alpha1.SpreadRequired
		}
		if g == verifiedGround {
			mc.Spec.Access.Peers = memkeepv1alpha1.PeersVerified
		}
		if g == proxyGround {
			node, err := apiServerNode(ctx)
			if err != nil {
				return err
			}
			mc.Spec.Placement.NodeSelector = map[string]memkeepv1alpha1.LabelValue{
				corev1.LabelHostname: memkeepv1alpha1.LabelValue(node),
			}
		}
		mc.Spec.Access.Clients[0].PodSelector = new(harness.SelectLabels(web))
		if err := cluster.Create(ctx, mc); err != nil {
			return err
		}
	}
	if err := gather(ctx); err != nil {
		return err
	}
	var wg sync.WaitGroup
	errs := make([]error, len(grounds))
	for i, g := range grounds {
		wg.Go(func() { errs[i] = g.fill(ctx) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	mc := &memkeepv1alpha1.Memcache{}
	if err := cluster.Get(ctx, mainGround.key, mc); err != nil {
		return err
	}
	widenedIsJudged = meta.FindStatusCondition(mc.Status.Conditions, memkeepv1alpha1.ConditionAccessWidened) != nil
	return guarded(ctx, true)
}

// guarded waits until the admission guard judges, or until it does not any more.
// The policy that it asks looks at the Memcaches of a namespace, and is the last to
// be ready: the API server takes up to half a minute to know a kind that is new.
func guarded(ctx context.Context, want bool) error {
	g := servicesGround
	service := serviceOf(g.key.Namespace, "guarded", corev1.ServiceTypeNodePort, g.kubernetesOwn())
	_, err := cluster.Eventually(ctx, "the admission guard", time.Minute, func(ctx context.Context) error {
		err := cluster.Create(ctx, service.DeepCopy(), client.DryRunAll)
		if refused := err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy"); refused != want {
			return fmt.Errorf("a Service that it refuses: %w", cmp.Or(err, errors.New("taken")))
		}
		return nil
	})
	return err
}

// apiServerNode is the node that the API server runs on.
func apiServerNode(ctx context.Context) (string, error) {
	slices := &discoveryv1.EndpointSliceList{}
	if err := cluster.List(ctx, slices, client.InNamespace("default"),
		client.MatchingLabels{discoveryv1.LabelServiceName: "kubernetes"}); err != nil {
		return "", err
	}
	nodes := &corev1.NodeList{}
	if err := cluster.List(ctx, nodes); err != nil {
		return "", err
	}
	for i := range slices.Items {
		for _, endpoint := range slices.Items[i].Endpoints {
			for j := range nodes.Items {
				for _, address := range nodes.Items[j].Status.Addresses {
					if address.Address == endpoint.Addresses[0] {
						return nodes.Items[j].Name, nil
					}
				}
			}
		}
	}
	return "", errors.New("the API server runs on no node of the cluster: its proxies cannot be tried")
}

func namespaces(ctx context.Context) error {
	clients := map[string]string{}
	for _, g := range grounds {
		maps.Copy(clients, harness.ClientLabels(g.key.Namespace, g.key.Name))
	}
	all := map[string]map[string]string{
		clientsNS: clients, outsideNS: nil, decoysNS: nil, usersNS: nil,
		privilegedNS: {"pod-security.kubernetes.io/enforce": "privileged"},
	}
	for _, g := range grounds {
		all[g.key.Namespace] = nil
	}
	for name, labels := range all {
		set := map[string]string{ours: "true"}
		maps.Copy(set, labels)
		if err := cluster.MakeNamespace(ctx, name, set); err != nil {
			return err
		}
	}
	return nil
}

// gather starts every pod that dials.
func gather(ctx context.Context) error {
	list := &corev1.NodeList{}
	if err := cluster.List(ctx, list); err != nil {
		return err
	}
	if len(list.Items) < 2 {
		return errors.New("these attempts need a cluster of two nodes: make cluster-down, and NODES=2 make cluster-up")
	}
	players = cast{
		clients: map[string]harness.Pod{}, strangers: map[string]harness.Pod{}, forgers: map[string]harness.Pod{},
		hosts: map[string]harness.Pod{}, decoys: map[string]string{}, addresses: map[string]string{},
	}
	halfway := cluster.PodOf(harness.DialerPod{Namespace: clientsNS, Name: "halfway"})
	trap := cluster.PodOf(harness.DialerPod{
		Namespace: outsideNS, Name: "trap", Labels: map[string]string{"app": "trap"}, Args: []string{"serve", ":11211"},
	})
	players.halfway = at(halfway)
	pods := []*corev1.Pod{halfway, trap}
	for i := range list.Items {
		node := &list.Items[i]
		players.nodes = append(players.nodes, node.Name)
		for _, address := range node.Status.Addresses {
			if address.Type == corev1.NodeInternalIP {
				players.addresses[node.Name] = address.Address
			}
		}
		one := func(where map[string]harness.Pod, want harness.DialerPod) *corev1.Pod {
			want.Node = node.Name
			want.Name += "-" + node.Name
			pod := cluster.PodOf(want)
			if where != nil {
				where[node.Name] = at(pod)
			}
			pods = append(pods, pod)
			return pod
		}
		one(players.clients, harness.DialerPod{Namespace: clientsNS, Name: "client", Labels: web})
		one(players.strangers, harness.DialerPod{Namespace: outsideNS, Name: "stranger"})
		one(players.forgers, harness.DialerPod{Namespace: outsideNS, Name: "forger", Labels: web})
		one(players.hosts, harness.DialerPod{Namespace: privilegedNS, Name: "host"}).Spec.HostNetwork = true
		one(nil, harness.DialerPod{Namespace: decoysNS, Name: "decoy", Args: []string{"serve", ":11211"}})
	}
	errs := make([]error, len(pods))
	var wg sync.WaitGroup
	for i := range pods {
		wg.Go(func() { pods[i], errs[i] = cluster.StartPodAs(ctx, pods[i]) })
	}
	wg.Wait()
	for i, err := range errs {
		if err != nil {
			return err
		}
		if pods[i].Namespace == decoysNS {
			players.decoys[pods[i].Spec.NodeName] = harness.CacheAddress(pods[i])
		}
	}
	players.trap = pods[1]
	return nil
}

// fill waits for the fleet and fills it.
func (g *ground) fill(ctx context.Context) error {
	if _, _, err := cluster.FleetReady(ctx, g.key); err != nil {
		return err
	}
	var err error
	if g.pods, err = cluster.FleetPods(ctx, g.key); err != nil {
		return err
	}
	return g.store(ctx)
}

// store has a client store the catchphrase at every member.
func (g *ground) store(ctx context.Context) error {
	for i := range g.pods {
		addr := harness.CacheAddress(&g.pods[i])
		if _, err := cluster.LetIn(ctx, g.client(), addr, harness.LabelLimit); err != nil {
			return err
		}
		t, err := cluster.Talk(ctx, g.client(), addr,
			fmt.Sprintf("set catchphrase 0 0 %d", len(catchphrase)), catchphrase)
		if err != nil {
			return err
		}
		if r := t.Replies(); len(r) != 1 || r[0] != "STORED" {
			return fmt.Errorf("store the catchphrase at %s: %s", g.pods[i].Name, t)
		}
	}
	return nil
}

// client is a client on the node of the fleet's first member.
func (g *ground) client() harness.Pod { return players.clients[g.pods[0].Spec.NodeName] }

// addresses are those of every member at a port.
func (g *ground) addresses(port int) []string {
	var all []string
	for i := range g.pods {
		all = append(all, fmt.Sprintf("%s:%d", g.pods[i].Status.PodIP, port))
	}
	return all
}

// member is a member as somewhere to exec into or forward to.
func (g *ground) member() harness.Pod { return at(&g.pods[0]) }

func at(pod *corev1.Pod) harness.Pod { return harness.Pod{Namespace: pod.Namespace, Name: pod.Name} }

// made counts the identities: an attempt that is made again has another one.
var made atomic.Int32

// user makes an identity that has one right, in one namespace or everywhere.
func user(t *testing.T, name, within string, rules ...rbacv1.PolicyRule) *harness.Cluster {
	t.Helper()
	name = fmt.Sprintf("%s-%d", name, made.Add(1))
	who := client.ObjectKey{Namespace: usersNS, Name: name}
	as, err := cluster.As(t.Context(), who, within, map[string]string{ours: "true"}, rules...)
	if err != nil {
		t.Fatal(err)
	}
	return as
}

// may is one right.
func may(group, resource string, verbs ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: verbs}
}
