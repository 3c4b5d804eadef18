// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// widenedAddress is the member's in this test, and in no other: others claim it.
const widenedAddress = "10.9.7.1"

// inAnother stands in status for the name of what is in another namespace.
const inAnother = "in another namespace"

// planting is something that widens access, and how it is to be named.
type planting struct {
	objects      []client.Object
	reason, kind string
	name         string
	// written is what a controller would write into the status of the first object.
	written func(client.Object)
}

func plantedPolicy(
	namespace string, rule networkingv1.NetworkPolicyIngressRule, pods map[string]string,
) planting {
	p := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "planted"}}
	p.Spec.PodSelector.MatchLabels = pods
	p.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{rule}
	return planting{[]client.Object{p}, v1alpha1.ReasonWidenedByPolicy, "NetworkPolicy", "planted", nil}
}

func plantedService(namespace string, change func(*corev1.Service), more ...client.Object) planting {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "planted"}}
	s.Spec.Ports = []corev1.ServicePort{{Port: 21211, TargetPort: intstr.FromInt32(v1alpha1.PortCache)}}
	change(s)
	return planting{append([]client.Object{s}, more...), v1alpha1.ReasonExposedByService, "Service", "planted", nil}
}

func plantedSlice(namespace, service, address string) *discoveryv1.EndpointSlice {
	s := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "planted"}, AddressType: discoveryv1.AddressTypeIPv4,
		Ports:     []discoveryv1.EndpointPort{{Name: new("cache"), Port: new(int32(v1alpha1.PortCache))}},
		Endpoints: []discoveryv1.Endpoint{{Addresses: []string{address}}},
	}
	s.Labels = map[string]string{discoveryv1.LabelServiceName: service}
	return s
}

func (p planting) elsewhere() planting {
	p.name = inAnother
	return p
}

func (p planting) writing(status func(client.Object)) planting {
	p.written = status
	return p
}

// plantings are what users may do to the fleet sessions in here.
func plantings(here, there string) map[string]planting {
	fleet := map[string]string{v1alpha1.LabelName: "sessions"}
	first := map[string]string{"apps.kubernetes.io/pod-index": "0"}
	byName := map[string]string{"statefulset.kubernetes.io/pod-name": "sessions-0"}
	stranger := func(service string) planting {
		return planting{
			[]client.Object{plantedSlice(here, service, "10.9.9.9")}, v1alpha1.ReasonForeignEndpoints,
			"EndpointSlice", "planted", nil,
		}
	}
	return map[string]planting{
		"a policy that admits everyone": plantedPolicy(here, networkingv1.NetworkPolicyIngressRule{}, nil),
		"a policy for one pod, by its ordinal": plantedPolicy(here, networkingv1.NetworkPolicyIngressRule{
			From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}},
		}, first),
		"a policy for addresses, at a port by its name": plantedPolicy(here, networkingv1.NetworkPolicyIngressRule{
			Ports: []networkingv1.NetworkPolicyPort{{Port: new(intstr.FromString("metrics"))}},
			From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{
				CIDR: "10.0.0.0/8", Except: []string{"10.1.0.0/16"},
			}}},
		}, fleet),
		"a node's port": plantedService(here, func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Selector = corev1.ServiceTypeNodePort, fleet
		}),
		"a load balancer, by a pod's name": plantedService(here, func(s *corev1.Service) {
			s.Spec.Type, s.Spec.Selector = corev1.ServiceTypeLoadBalancer, byName
		}),
		"an external address, by an ordinal": plantedService(here, func(s *corev1.Service) {
			s.Spec.ExternalIPs, s.Spec.Selector = []string{"192.0.2.1"}, first
		}),
		"a node's port in another namespace, without a selector": plantedService(there, func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeNodePort
		}, plantedSlice(there, "planted", widenedAddress)).elsewhere(),
		"a member's address taken from another namespace": plantedService(there, func(s *corev1.Service) {
			s.Spec.ExternalIPs = []string{widenedAddress}
		}).elsewhere(),
		"a member's address taken by the status of a load balancer": plantedService(here, func(s *corev1.Service) {
			s.Spec.Type = corev1.ServiceTypeLoadBalancer
		}).writing(func(o client.Object) {
			o.(*corev1.Service).Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: widenedAddress}}
		}),
		"a stranger behind the ring":                 stranger("sessions"),
		"a stranger behind the Service of the ready": stranger("sessions-ready"),
	}
}

func TestWhatWidensAccessIsNamedWithinSecondsAndForgottenAfter(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.standard()
	there := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "others-"}}
	s.create(s.fleet("sessions", 1), there)
	s.ready("sessions")
	s.wait("the member has its address", func() string {
		p := &s.pods()[0]
		p.Status.PodIP, p.Status.PodIPs = widenedAddress, []corev1.PodIP{{IP: widenedAddress}}
		if err := kube.Status().Update(t.Context(), p); err != nil {
			return err.Error()
		}
		return ""
	})
	s.condition("sessions", v1alpha1.ConditionAccessWidened, metav1.ConditionFalse, v1alpha1.ReasonAsConfigured)

	for what, p := range plantings(s.namespace, there.Name) {
		started := time.Now()
		s.create(p.objects...)
		if p.written != nil {
			p.written(p.objects[0])
			if err := kube.Status().Update(t.Context(), p.objects[0]); err != nil {
				t.Fatal(err)
			}
		}
		s.widened(what, p)
		s.condition("sessions", v1alpha1.ConditionAccessWidened, metav1.ConditionTrue, p.reason)
		t.Logf("%s: named after %v", what, time.Since(started).Round(time.Millisecond))
		started = time.Now()
		for _, o := range p.objects {
			if err := kube.Delete(t.Context(), o); err != nil {
				t.Fatal(err)
			}
		}
		s.condition("sessions", v1alpha1.ConditionAccessWidened, metav1.ConditionFalse, v1alpha1.ReasonAsConfigured)
		t.Logf("%s: over after %v", what, time.Since(started).Round(time.Millisecond))
		if named := s.memcache("sessions").Status.Access.WidenedBy; len(named) > 0 {
			t.Errorf("%s: gone, and still named: %+v", what, named)
		}
	}
	for _, reason := range []string{
		v1alpha1.ReasonWidenedByPolicy, v1alpha1.ReasonExposedByService, v1alpha1.ReasonForeignEndpoints,
	} {
		s.told(corev1.EventTypeWarning, reason, "planted: ")
	}
	if n := s.memcache("sessions").Status.Access.AdmittedNamespaces; n == nil || *n != 0 {
		t.Errorf("namespaces that are admitted: %v", n)
	}

	// What widens nothing is not written about.
	s.settle()
	s.create(plantedService(s.namespace, func(o *corev1.Service) {
		o.Spec.Selector = map[string]string{v1alpha1.LabelName: "sessions"}
	}).objects...)
	time.Sleep(quiet)
	if writes := s.wire.taken(); len(writes) > 0 {
		t.Errorf("a Service within the cluster had written %v", writes)
	}
}

// widened waits until the object is named, and no other.
func (s *stage) widened(what string, p planting) {
	s.t.Helper()
	s.wait(what+" is named", func() string {
		m := s.memcache("sessions")
		if m.Status.Access == nil || len(m.Status.Access.WidenedBy) != 1 ||
			!slices.ContainsFunc(m.Status.Access.WidenedBy, func(w v1alpha1.Widening) bool {
				return w.Kind == p.kind && w.Name == p.name && w.What != ""
			}) {
			return fmt.Sprintf("status.access is %+v", m.Status.Access)
		}
		return ""
	})
}
