// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package e2e

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/harness"
)

// membersLimit is how long the operator may take to tell a member who the
// others are. Another start of the operator waits for its lease.
const membersLimit = 45 * time.Second

// discovered waits until a member tells a client of exactly these pods, and
// returns how long that took. Only the operator can have told it.
func discovered(t *testing.T, member *corev1.Pod, pods []corev1.Pod) time.Duration {
	t.Helper()
	var want []string
	for i := range pods {
		want = append(want, fmt.Sprintf("%s.%s.%s.svc|%s|11211", pods[i].Name, pods[i].Labels[memkeepv1alpha1.LabelName],
			pods[i].Namespace, pods[i].Status.PodIP))
	}
	took, err := cluster.Eventually(t.Context(), member.Name+" knows the members", membersLimit,
		func(ctx context.Context) error {
			said, err := cluster.Talk(ctx, players.friend, harness.CacheAddress(member), "get AmazonElastiCache:cluster")
			if err != nil {
				return err
			}
			if !strings.Contains(said.String(), strings.Join(want, " ")) {
				return fmt.Errorf("it says %s, not %s", said, want)
			}
			return nil
		})
	check(t, err)
	return took
}

// controlAddress is a pod's control port.
func controlAddress(pod *corev1.Pod) string {
	return net.JoinHostPort(pod.Status.PodIP, strconv.Itoa(memkeepv1alpha1.PortControl))
}

// controlPorts shows that the operator reaches every control port, and nobody else any.
func controlPorts(t *testing.T) {
	t.Helper()
	const ns = "e2e-control"
	namespace(t, ns)
	mc := harness.NewFleet(ns, "sessions", 2)
	pods := create(t, mc)
	for i := range pods {
		t.Logf("%s knows the members %.1f s after the fleet is ready", pods[i].Name, discovered(t, &pods[i], pods).Seconds())
	}
	t.Run("a stranger and a client are shut out", func(t *testing.T) {
		for i := range pods {
			stranger, decoy := strangerTo(&pods[i])
			for _, from := range []harness.Pod{stranger, players.friend, players.lost, players.scraper} {
				_, err := cluster.ShutOut(t.Context(), from, decoy, controlAddress(&pods[i]))
				check(t, err)
			}
		}
	})
	t.Run("the node, whom no policy stops, hears nothing", func(t *testing.T) {
		// A closed connection is all that plain text comes to.
		// It may come before all is sent, which must not end the shell.
		script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/%d || exit; trap '' PIPE; `+
			`printf 'GET /v1/state HTTP/1.1\r\nHost: x\r\n\r\n' >&3; `+
			`timeout 10 cat <&3 | tr -cd '[:print:]'; echo " end"`,
			pods[0].Status.PodIP, memkeepv1alpha1.PortControl)
		out, err := cluster.OnNode(t.Context(), pods[0].Spec.NodeName, "bash", "-c", script)
		check(t, err)
		if strings.Contains(out, "HTTP") || strings.Contains(out, "{") || !strings.Contains(out, "end") {
			t.Fatalf("it heard %q", out)
		}
	})
	t.Run("a member that is replaced is enrolled anew, and the others are told", func(t *testing.T) {
		check(t, cluster.Delete(t.Context(), &pods[1]))
		pods = replaced(t, client.ObjectKeyFromObject(mc), pods)
		for i := range pods {
			t.Logf("%s knows %.1f s after", pods[i].Name, discovered(t, &pods[i], pods).Seconds())
		}
	})
}

// replaced waits until the second pod is another one, and ready.
func replaced(t *testing.T, key client.ObjectKey, before []corev1.Pod) []corev1.Pod {
	t.Helper()
	_, err := cluster.Eventually(t.Context(), "another pod", time.Minute, func(ctx context.Context) error {
		pods, err := cluster.FleetPods(ctx, key)
		if err != nil {
			return err
		}
		if len(pods) != len(before) || pods[1].UID == before[1].UID || pods[1].Status.PodIP == "" {
			return errors.New("it is not there yet")
		}
		return nil
	})
	check(t, err)
	return ready(t, key)
}

// controlComesBack shows that another start of the operator takes the
// connections up again, and pods notice nothing.
func controlComesBack(t *testing.T) {
	t.Helper()
	const ns = "e2e-control-back"
	namespace(t, ns)
	mc := harness.NewFleet(ns, "sessions", 2)
	before := create(t, mc)
	discovered(t, &before[0], before)
	killOperator(t)
	// While nobody is there, a member is replaced. It serves, and knows no members.
	check(t, cluster.Delete(t.Context(), &before[1]))
	check(t, cluster.OperatorAvailable(t.Context(), operator))
	after := replaced(t, client.ObjectKeyFromObject(mc), before)
	for i := range after {
		t.Logf("%s knows the members %.1f s after the operator is back", after[i].Name,
			discovered(t, &after[i], after).Seconds())
	}
	if after[0].UID != before[0].UID || after[0].Status.ContainerStatuses[0].RestartCount != 0 {
		t.Error("the other member did not stay as it was")
	}
}
