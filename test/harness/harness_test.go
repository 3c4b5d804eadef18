// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/dialer/dialing"
)

func TestConnectAsksForItsEnvironment(t *testing.T) {
	t.Setenv(envKubeconfig, "")
	if _, err := Connect(); err == nil || !strings.Contains(err.Error(), "KUBECONFIG is not set") {
		t.Fatalf("got %v", err)
	}
}

func TestDenied(t *testing.T) {
	f := func(o dialing.Outcome, want bool) {
		t.Helper()
		if got := Denied(o); got != want {
			t.Errorf("%s denied: %t, want %t", o, got, want)
		}
	}
	f(dialing.TimedOut, true)
	f(dialing.Refused, true)
	f(dialing.Reset, true)
	f(dialing.Unreachable, true)
	f(dialing.Connected, false)
	// A name that does not resolve, or a dialer that broke, says nothing about a policy.
	f(dialing.Unresolved, false)
	f(dialing.Failed, false)
	f(dialing.Silent, false)
	f(dialing.Closed, false)
}

func TestForwardTellsTheKubeletsReason(t *testing.T) {
	f := &Forward{}
	if got := f.Cause(); got != "" {
		t.Fatalf("a forward that logged nothing has the cause %q", got)
	}
	f.note(`"msg"="An error occurred forwarding" "err"="error forwarding port 11211 to pod 0a, uid : ` +
		`failed to connect to localhost:11211 inside namespace \"b\", IPv4: dial tcp4 127.0.0.1:11211: ` +
		`connect: connection refused IPv6 dial tcp6 [::1]:11211: connect: connection refused" "localPort"=1`)
	if got, want := f.Cause(), "connection refused at 127.0.0.1:11211 inside the pod"; got != want {
		t.Fatalf("got %q, want %q", got, want)
	}
}

func TestEventuallyTellsWhatWasMissing(t *testing.T) {
	c := &Cluster{Progress: t.Logf}
	_, err := c.Eventually(t.Context(), "the sun rises", 300*time.Millisecond, func(context.Context) error {
		return errors.New("it is night")
	})
	if err == nil || !strings.Contains(err.Error(), "the sun rises") || !strings.Contains(err.Error(), "it is night") {
		t.Fatalf("got %v", err)
	}
	tries := 0
	if _, err := c.Eventually(t.Context(), "third time lucky", 5*time.Second, func(context.Context) error {
		if tries++; tries < 3 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func TestReadManifestsPutsNamespacesFirstAndLeavesTheKustomizationOut(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"a.yaml":             "kind: Secret\nmetadata: {name: b}\n---\n# nothing\n---\nkind: Namespace\n",
		"kustomization.yaml": "kind: Kustomization\n",
		"notes.txt":          "kind: Note\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	objects, err := ReadManifests(dir)
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, o := range objects {
		kinds = append(kinds, o.GetKind())
	}
	if got := strings.Join(kinds, " "); got != "Namespace Secret" {
		t.Fatalf("got %q", got)
	}
}

func TestFleetStateNeedsTheCurrentGeneration(t *testing.T) {
	mc := NewFleet("ns", "sessions", 1)
	mc.Generation = 2
	mc.Status.ObservedGeneration = 1
	mc.Status.Conditions = []metav1.Condition{{
		Type: memkeepv1alpha1.ConditionReady, Status: metav1.ConditionTrue, Reason: memkeepv1alpha1.ReasonMembersReady,
	}}
	if FleetState(mc) == nil {
		t.Error("ready for an older generation passes for ready")
	}
	mc.Status.ObservedGeneration = 2
	if err := FleetState(mc); err != nil {
		t.Error(err)
	}
	mc.Status.Conditions[0].Status = metav1.ConditionFalse
	if FleetState(mc) == nil {
		t.Error("not ready passes for ready")
	}
}
