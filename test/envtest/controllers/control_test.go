// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/pki"
	"github.com/memkeep/memkeep/controllers/resources"
)

const caSecret = "memkeep-control-ca"

// controlled starts the operator with its control ports; its own namespace is
// the stage's.
func (s *stage) controlled() {
	s.t.Helper()
	s.control = true
	s.operate(resources.Settings{CacheImage: image})
}

// bundle waits for the fleet's ConfigMap to hold what the Secret holds.
func (s *stage) bundle(fleet string) string {
	s.t.Helper()
	var found string
	s.wait("the pods' CA is the operator's", func() string {
		secret, public := &corev1.Secret{}, &corev1.ConfigMap{}
		if !s.get(secret, caSecret) || !s.get(public, fleet+"-control-ca") {
			return "one is absent"
		}
		if _, err := pki.Parse(secret.Data); err != nil {
			s.t.Fatal(err)
		}
		found = public.Data[pki.KeyBundle]
		if found != string(secret.Data[pki.KeyBundle]) {
			return "they differ"
		}
		if strings.Contains(found, "KEY") || len(public.Data) != 1 {
			s.t.Fatalf("the pods' CA holds more than certificates: %v", public.Data)
		}
		return ""
	})
	return found
}

func TestTheOperatorsCAIsMadeOnceAndTold(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	s.create(s.fleet("sessions", 1))
	s.controlled()
	first := s.bundle("sessions")
	s.ready("sessions")
	s.stop()
	s.controlled()
	if again := s.bundle("sessions"); again != first {
		t.Fatal("a restart made another CA")
	}
	// A CA that somebody overwrites in the fleet's namespace is put back.
	public := &corev1.ConfigMap{}
	s.get(public, "sessions-control-ca")
	public.Data[pki.KeyBundle] = "mine"
	if err := kube.Update(t.Context(), public); err != nil {
		t.Fatal(err)
	}
	s.bundle("sessions")
	if err := kube.Delete(t.Context(), public); err != nil {
		t.Fatal(err)
	}
	if s.bundle("sessions") != first {
		t.Fatal("it came back as another one")
	}
	// Whoever deletes the Secret has another CA made; pods are not replaced for it.
	revision := s.ready("sessions").Status.TemplateRevision
	secret := &corev1.Secret{}
	s.get(secret, caSecret)
	if err := kube.Delete(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	s.wait("another CA", func() string {
		if !s.get(secret, caSecret) {
			return "it is absent"
		}
		return ""
	})
	if s.bundle("sessions") == first || s.ready("sessions").Status.TemplateRevision != revision {
		t.Fatal("the same CA, or another template")
	}
}

func TestNoPodStartsWithAPlantedCA(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	planted := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "sessions-control-ca"},
		Data:       map[string]string{pki.KeyBundle: "mine"},
	}
	if err := kube.Create(t.Context(), planted); err != nil {
		t.Fatal(err)
	}
	s.controlled()
	s.wait("the CA is known", func() string {
		if !s.get(&corev1.Secret{}, caSecret) {
			return "it is absent"
		}
		return ""
	})
	time.Sleep(time.Second)
	s.create(s.fleet("sessions", 1))
	s.condition("sessions", v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonNameConflict)
	time.Sleep(quiet)
	if pods := s.pods(); len(pods) != 0 {
		t.Fatalf("%d pods started", len(pods))
	}
	s.get(planted, "sessions-control-ca")
	if planted.Data[pki.KeyBundle] != "mine" {
		t.Fatal("a foreign object was taken over")
	}
}

func TestABrokenCAIsNotReplacedAndFleetsGoOn(t *testing.T) {
	t.Parallel()
	s := newStage(t)
	broken := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: caSecret},
		Data:       map[string][]byte{pki.KeyBundle: []byte("x"), pki.KeyKeys: []byte("y")},
	}
	if err := kube.Create(t.Context(), broken); err != nil {
		t.Fatal(err)
	}
	s.controlled()
	s.create(s.fleet("sessions", 1))
	s.ready("sessions")
	s.get(broken, caSecret)
	if string(broken.Data[pki.KeyKeys]) != "y" {
		t.Fatal("a Secret that somebody may need was overwritten")
	}
	if s.get(&corev1.ConfigMap{}, "sessions-control-ca") {
		t.Fatal("pods are told a CA that nobody has")
	}
}
