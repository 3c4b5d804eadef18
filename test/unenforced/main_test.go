// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package unenforced

import (
	"context"
	"fmt"
	"maps"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

const (
	// ours marks every namespace of these tests, so that a killed run's are found.
	ours       = "unenforced.memkeep.test/run"
	clientNS   = "unenforced-clients"
	strangerNS = "unenforced-strangers"
	hostNS     = "unenforced-hosts"
)

// The fleets, each in a namespace of its own.
var (
	reported = client.ObjectKey{Namespace: "unenforced-reported", Name: "sessions"}
	required = client.ObjectKey{Namespace: "unenforced-required", Name: "sessions"}
	verified = client.ObjectKey{Namespace: "unenforced-verified", Name: "sessions"}
)

var (
	cluster  *harness.Cluster
	operator harness.Operator
	// friend is a client of each fleet, stranger of none, and host a pod on its
	// node's network.
	friend   = harness.Pod{Namespace: clientNS, Name: "friend"}
	stranger = harness.Pod{Namespace: strangerNS, Name: "stranger"}
	host     = harness.Pod{Namespace: hostNS, Name: "host"}
)

func TestMain(m *testing.M) {
	suite := harness.Suite{Name: "unenforced", Mark: ours, Parallel: 8, KeepFailed: true, Prepare: prepare}
	os.Exit(suite.Main(context.Background(), m))
}

// prepare starts everybody who dials, and looks that this network is what the
// tests are about: one where a policy that denies everything stops nobody.
func prepare(ctx context.Context, c *harness.Cluster, o harness.Operator) error {
	cluster, operator = c, o
	labels := map[string]string{ours: "true"}
	clients := maps.Clone(labels)
	for _, key := range []client.ObjectKey{reported, required, verified} {
		maps.Copy(clients, harness.ClientLabels(key.Namespace, key.Name))
		if err := cluster.MakeNamespace(ctx, key.Namespace, labels); err != nil {
			return err
		}
	}
	hosts := maps.Clone(labels)
	hosts["pod-security.kubernetes.io/enforce"] = "privileged"
	for name, labels := range map[string]map[string]string{clientNS: clients, strangerNS: labels, hostNS: hosts} {
		if err := cluster.MakeNamespace(ctx, name, labels); err != nil {
			return err
		}
	}
	if _, err := cluster.StartPods(ctx, []harness.DialerPod{
		{Namespace: friend.Namespace, Name: friend.Name}, {Namespace: stranger.Namespace, Name: stranger.Name},
	}); err != nil {
		return err
	}
	if _, err := cluster.StartHostPod(ctx, harness.DialerPod{Namespace: host.Namespace, Name: host.Name}); err != nil {
		return err
	}
	return stopsNobody(ctx)
}

// stopsNobody dials the operator, which a policy of the installation shuts.
func stopsNobody(ctx context.Context) error {
	pods, err := cluster.OperatorPods(ctx, operator)
	if err != nil {
		return err
	}
	if len(pods) == 0 {
		return fmt.Errorf("the operator has no pod")
	}
	report, err := cluster.Dial(ctx, stranger, fmt.Sprintf("%s:8443", pods[0].Status.PodIP), harness.DialTimeout)
	if err != nil {
		return err
	}
	if report.Outcome != dialing.Connected {
		return fmt.Errorf("this network enforces NetworkPolicy (%s): run `make test-unenforced`, which wants another one",
			report.Outcome)
	}
	return nil
}

// check ends the test on an error.
func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// running creates a fleet's first pod and returns it as soon as it runs.
func running(t *testing.T, key client.ObjectKey) *corev1.Pod {
	t.Helper()
	pod, err := cluster.PodRuns(t.Context(), client.ObjectKey{Namespace: key.Namespace, Name: key.Name + "-0"})
	check(t, err)
	return pod
}
