// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// caches play the control ports of members, of which a test with an API server
// alone has none: they note what they are told, and say who is connected.
type caches struct {
	mu        sync.Mutex
	told      map[types.UID]controlapi.Peers
	connected []string
	held      []string
}

func (c *caches) State(_ context.Context, member types.UID) (*controlapi.State, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.told[member]
	return &controlapi.State{Peers: controlapi.PeersState{
		Verified: true, Revision: p.Revision, Count: len(p.Addresses), Held: c.held,
	}}, nil
}

func (c *caches) SetPeers(
	ctx context.Context, member types.UID, peers *controlapi.Peers,
) (*controlapi.State, error) {
	c.mu.Lock()
	if c.told == nil {
		c.told = map[types.UID]controlapi.Peers{}
	}
	c.told[member] = *peers
	c.mu.Unlock()
	return c.State(ctx, member)
}

func (c *caches) Connections(context.Context, types.UID) (*controlapi.Connections, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := &controlapi.Connections{}
	for _, a := range c.connected {
		out.Peers = append(out.Peers, controlapi.Peer{Address: a, Connections: 1, Since: 1_900_000_000})
	}
	return out, nil
}

func (c *caches) connect(addresses ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = addresses
}

// serves tells whom every member was last told to serve.
func (c *caches) serves(want ...string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.told) == 0 {
		return "nobody was told"
	}
	for member, p := range c.told {
		if !p.Verified || !slices.Equal(p.Addresses, want) {
			return fmt.Sprintf("%s was told %+v, want %v", member, p, want)
		}
	}
	return ""
}

// tenant makes a namespace with a pod that has an address.
func (s *stage) tenant(labels map[string]string, address string, change ...func(*corev1.Pod)) *corev1.Pod {
	s.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "tenant-", Labels: labels}}
	s.create(ns)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "client", Namespace: ns.Name},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "none"}}},
	}
	for _, c := range change {
		c(p)
	}
	s.create(p)
	p.Status.Phase = corev1.PodRunning
	p.Status.PodIP, p.Status.PodIPs = address, []corev1.PodIP{{IP: address}}
	if err := kube.Status().Update(s.t.Context(), p); err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() {
		_ = kube.Delete(context.Background(), p, client.GracePeriodSeconds(0))
	})
	return p
}

// told waits for an event about the fleet.
func (s *stage) told(kind, reason, part string) {
	s.t.Helper()
	s.wait("an event "+reason, func() string {
		list := &eventsv1.EventList{}
		if err := kube.List(s.t.Context(), list, client.InNamespace(s.namespace)); err != nil {
			return err.Error()
		}
		var others []string
		for _, e := range list.Items {
			if e.Reason == reason && e.Type == kind && strings.Contains(e.Note, part) {
				return ""
			}
			others = append(others, e.Type+" "+e.Reason+": "+e.Note)
		}
		return fmt.Sprint(others)
	})
}

func (s *stage) clientLabel(fleet string) map[string]string {
	return map[string]string{v1alpha1.ClientLabel(s.namespace, fleet): "true"}
}

func TestMembersAreToldTheAddressesOfTheirClients(t *testing.T) {
	t.Parallel()
	s, c := newStage(t), &caches{}
	s.caches = c
	web := s.tenant(s.clientLabel("sessions"), "10.20.0.1")
	s.tenant(nil, "10.20.0.2")
	s.tenant(s.clientLabel("sessions"), "10.20.0.3", func(p *corev1.Pod) { p.Spec.HostNetwork = true })
	s.standard()
	s.create(s.fleet("sessions", 1, func(m *v1alpha1.Memcache) { m.Spec.Access.Peers = v1alpha1.PeersVerified }))
	s.ready("sessions")
	s.run(&s.pods()[0])
	s.wait("the member is told", func() string { return c.serves("10.20.0.1") })

	late := s.tenant(s.clientLabel("sessions"), "10.20.0.4")
	s.wait("a new client is told", func() string { return c.serves("10.20.0.1", "10.20.0.4") })
	if err := kube.Delete(t.Context(), late, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	s.wait("a client that is gone is told", func() string { return c.serves("10.20.0.1") })

	// A stranger gets the address of a client that still has it: it is nobody's.
	s.tenant(nil, "10.20.0.1")
	s.wait("a shared address is nobody's", func() string { return c.serves() })
	if err := kube.Delete(t.Context(), web, client.GracePeriodSeconds(0)); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second)
	if why := c.serves(); why != "" {
		t.Errorf("the heir of an address: %s", why)
	}

	// In a quiet minute nothing of this is written.
	s.settle()
	_ = s.wire.taken()
	time.Sleep(quiet)
	if writes := s.wire.taken(); len(writes) > 0 {
		t.Errorf("written while nothing changed: %v", writes)
	}
}

func TestAuditTellsHowManyWouldBeCutOffAndEnforceHowManyAre(t *testing.T) {
	t.Parallel()
	s, c := newStage(t), &caches{}
	s.caches = c
	s.tenant(s.clientLabel("sessions"), "10.21.0.1")
	s.tenant(nil, "10.21.0.2")
	s.standard()
	s.create(s.fleet("sessions", 1, func(m *v1alpha1.Memcache) { m.Spec.Access.Mode = v1alpha1.AccessAudit }))
	s.ready("sessions")
	s.condition("sessions", v1alpha1.ConditionAccessConfigured, metav1.ConditionTrue, v1alpha1.ReasonEveryoneAdmitted)
	s.condition("sessions", v1alpha1.ConditionAccessEnforced, metav1.ConditionUnknown, v1alpha1.ReasonAuditMode)
	c.connect("10.21.0.1", "10.21.0.2", "10.21.0.9")
	s.run(&s.pods()[0])
	cutOff := func(mode v1alpha1.AccessMode, want int32) func() string {
		return func() string {
			a := s.memcache("sessions").Status.Access
			switch {
			case a == nil || a.Mode != mode:
			case want < 0 && a.WouldBeCutOff == nil && a.WouldBeCutOffSince == nil,
				want >= 0 && a.WouldBeCutOff != nil && *a.WouldBeCutOff == want && (want == 0) == (a.WouldBeCutOffSince == nil):
				return ""
			}
			return fmt.Sprintf("status.access is %+v", a)
		}
	}
	s.wait("the stranger and who is no pod are counted", cutOff(v1alpha1.AccessAudit, 2))
	s.told(corev1.EventTypeNormal, v1alpha1.ReasonWouldBeCutOff, "2 peers")

	s.change("sessions", func(m *v1alpha1.Memcache) { m.Spec.Access.Mode = v1alpha1.AccessEnforce })
	s.wait("who is cut off is counted", cutOff(v1alpha1.AccessEnforce, 2))
	s.told(corev1.EventTypeWarning, v1alpha1.ReasonClientsCutOff, "2 clients by address")

	// Whoever was refused before is not cut off by the next change; the client that is left is.
	s.change("sessions", func(m *v1alpha1.Memcache) { m.Spec.Access.Clients = nil })
	s.wait("the last client is cut off", cutOff(v1alpha1.AccessEnforce, 1))
	s.told(corev1.EventTypeWarning, v1alpha1.ReasonClientsCutOff, "1 client by address")

	// A change that admits more cuts off nobody.
	s.change("sessions", func(m *v1alpha1.Memcache) {
		m.Spec.Access.Clients = []v1alpha1.Peer{client1(s.namespace, "sessions")}
	})
	s.wait("nobody is cut off", cutOff(v1alpha1.AccessEnforce, -1))
	for _, e := range s.memcache("sessions").Status.Conditions {
		if strings.Contains(e.Message, "10.21.0") || strings.Contains(e.Message, "tenant-") {
			t.Errorf("status names another tenant's pod: %s", e.Message)
		}
	}
}
