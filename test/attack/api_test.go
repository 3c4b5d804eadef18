// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/dialer/dialing"
	"github.com/memkeep/memkeep/test/harness"
)

func forwardAttempts() []attempt {
	const who = "a user who may only port-forward"
	return []attempt{{
		who: who, way: "reach each port of a member over a port-forward",
		want: GotNothing, why: "the kubelet dials loopback inside the pod, where nobody listens",
		try: func(t *testing.T, _ Outcome) finding {
			as := user(t, "forwarder", mainGround.key.Namespace, may("", "pods/portforward", "create", "get"))
			var found []finding
			for _, port := range allPorts {
				found = append(found, forwarded(t, as, mainGround.member(), port))
			}
			return worst(found)
		},
	}}
}

// forwarded asks for the catchphrase through a port-forward.
func forwarded(t *testing.T, as *harness.Cluster, to harness.Pod, port int) finding {
	t.Helper()
	o, cause, err := as.ForwardedTalk(t.Context(), to, port, "get catchphrase")
	if err != nil {
		t.Fatal(err)
	}
	saw := fmt.Sprintf("port %d of %s: %s, %s", port, to, o, cause)
	switch {
	case o == dialing.Connected:
		// Whoever has one byte of the answer has the answer.
		return finding{ReadIt, saw}
	case strings.Contains(cause, "refused"):
		return finding{GotNothing, saw}
	}
	return finding{ClosedByEngine, saw}
}

func execAttempts() []attempt {
	const who = "a user who may only exec into the fleet's pods"
	pod := func() harness.Pod { return mainGround.member() }
	return []attempt{
		{
			who: who, way: "run a shell, or read the cache's memory with a tool",
			want: GotNothing, why: "the image holds one program and no shell, and the process is not dumpable",
			try: func(t *testing.T, _ Outcome) finding {
				return executed(t, "shell-user", pod(),
					[]string{"/bin/sh", "-c", "cat /proc/1/mem"}, []string{"sh"}, []string{"cat", "/proc/1/mem"},
					[]string{"/bin/busybox"}, []string{"/dialer", "search", "cache-server", fmt.Sprintf("%x", catchphrase)})
			},
		},
		{
			who: who, way: "run the cache's own program beside it, over its arguments",
			want: GotNothing, why: "the program is no client, reads no file to anybody, and finds its ports taken",
			try: func(t *testing.T, _ Outcome) finding {
				return executed(t, "program-user", pod(),
					[]string{"/cache-server", "fleet", "--memory-bytes=67108864"}, []string{"/cache-server", "--help"},
					[]string{"/cache-server", "-l", "127.0.0.1", "-p", "21211", "-e", "/proc/1/mem"})
			},
		},
	}
}

// executed runs commands in a pod, and looks whether one gives the catchphrase.
func executed(t *testing.T, name string, in harness.Pod, commands ...[]string) finding {
	t.Helper()
	as := user(t, name, in.Namespace, may("", "pods/exec", "create", "get"))
	var all []string
	for _, command := range commands {
		var out bytes.Buffer
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		code, err := as.Exec(ctx, in, nil, &out, command...)
		cancel()
		if err != nil && strings.Contains(err.Error(), "forbidden") {
			t.Fatalf("the attacker cannot even try: %v", err)
		}
		all = append(all, fmt.Sprintf("%v: %d %v %.200s", command, code, err, out.String()))
		if strings.Contains(out.String(), catchphrase) {
			return finding{ReadIt, all[len(all)-1]}
		}
	}
	return finding{GotNothing, strings.Join(all, "\n")}
}

func proxyAttempts() []attempt {
	const (
		podsProxy     = "a user who may only use pods/proxy"
		servicesProxy = "a user who may only use services/proxy"
		nodesProxy    = "a user who may only use nodes/proxy"
	)
	why := "no policy stops the API server, but what begins as HTTP is closed before a body is read"
	return []attempt{
		{
			who: podsProxy, way: "send commands in the body of a request to a member",
			want: ClosedByEngine, why: why,
			try: func(t *testing.T, _ Outcome) finding {
				as := user(t, "pods-proxy", proxyGround.key.Namespace, may("", "pods/proxy", "create"))
				return proxied(t, as, fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:11211/proxy/",
					proxyGround.key.Namespace, proxyGround.pods[0].Name))
			},
		},
		{
			who: podsProxy, way: "look for it in a member's metrics",
			want: GotNothing, why: "metrics are numbers: they hold no key and no value",
			try: func(t *testing.T, _ Outcome) finding {
				as := user(t, "metrics-proxy", proxyGround.key.Namespace, may("", "pods/proxy", "get"))
				answer, err := as.Kube.CoreV1().RESTClient().Get().
					AbsPath(fmt.Sprintf("/api/v1/namespaces/%s/pods/%s:9150/proxy/metrics",
						proxyGround.key.Namespace, proxyGround.pods[0].Name)).DoRaw(t.Context())
				if err == nil && !bytes.Contains(answer, []byte("memcached_up 1")) {
					err = errors.New("these are no metrics")
				}
				if err != nil {
					t.Fatalf("nothing is proven: %v, %.200q", err, answer)
				}
				return judge(dialing.Failed, string(answer))
			},
		},
		{
			who: servicesProxy, way: "send commands in the body of a request to the ready Service",
			want: ClosedByEngine, why: why,
			try: func(t *testing.T, _ Outcome) finding {
				as := user(t, "services-proxy", proxyGround.key.Namespace, may("", "services/proxy", "create"))
				return proxied(t, as, fmt.Sprintf("/api/v1/namespaces/%s/services/%s-ready:11211/proxy/",
					proxyGround.key.Namespace, fleetName))
			},
		},
		{
			who: nodesProxy, way: "run a command in a member through the kubelet",
			want: GotNothing, why: "the image holds nothing to run, as with exec",
			try: func(t *testing.T, _ Outcome) finding {
				got := throughKubelet(t, "kubelet-member", &mainGround.pods[0], "/bin/sh")
				if !strings.Contains(got.saw, "no such file") {
					t.Fatalf("nothing is proven: the kubelet was not asked: %s", got.saw)
				}
				return got
			},
		},
		{
			who: nodesProxy, way: "run a command in a client's pod through the kubelet",
			want: ReadIt, why: "whoever may run commands in a client's pod is that client; nodes/proxy gives it for every pod",
			try: func(t *testing.T, _ Outcome) finding {
				pod, err := cluster.PodRuns(t.Context(), client.ObjectKey{
					Namespace: mainGround.client().Namespace, Name: mainGround.client().Name,
				})
				if err != nil {
					t.Fatal(err)
				}
				return throughKubelet(t, "kubelet-client", pod,
					"/dialer talk --blank + "+mainGround.addresses(cachePort)[0]+" get+catchphrase")
			},
		},
	}
}

// proxied posts commands through the API server's proxy. The connection is
// closed without an answer, for which the API server answers in the cache's stead.
func proxied(t *testing.T, as *harness.Cluster, path string) finding {
	t.Helper()
	answer, err := as.Kube.CoreV1().RESTClient().Post().AbsPath(path).
		SetHeader("Content-Type", "text/plain").Body([]byte("get catchphrase\r\n")).DoRaw(t.Context())
	saw := fmt.Sprintf("%s: %q, %v", path, answer, err)
	switch {
	case strings.Contains(saw, catchphrase):
		return finding{ReadIt, saw}
	case err == nil:
		return finding{GotNothing, saw}
	case strings.Contains(saw, "EOF"), strings.Contains(saw, "reset"),
		strings.Contains(saw, "use of closed network connection"):
		return finding{ClosedByEngine, saw}
	case strings.Contains(saw, "timeout"), strings.Contains(saw, "timed out"):
		return finding{RefusedByNetwork, saw}
	}
	if strings.Contains(saw, "forbidden") {
		t.Errorf("the attacker cannot even try: %s", saw)
	}
	return finding{GotNothing, saw}
}

// throughKubelet runs a command in a pod by way of the kubelet of its node. The
// kubelet splits it at blanks.
func throughKubelet(t *testing.T, name string, pod *corev1.Pod, command string) finding {
	t.Helper()
	as := user(t, name, "", may("", "nodes/proxy", "create"))
	answer, err := as.Kube.CoreV1().RESTClient().Post().AbsPath(fmt.Sprintf("/api/v1/nodes/%s/proxy/run/%s/%s/%s",
		pod.Spec.NodeName, pod.Namespace, pod.Name, pod.Spec.Containers[0].Name)).
		Param("cmd", command).Timeout(20 * time.Second).DoRaw(t.Context())
	saw := fmt.Sprintf("%s: %q, %v", pod.Name, answer, err)
	if strings.Contains(saw, "cannot create resource") {
		t.Fatalf("the attacker cannot even try: %s", saw)
	}
	return judge(dialing.Failed, saw)
}

func debugAttempts() []attempt {
	const who = "a user who may only add ephemeral containers (kubectl debug)"
	const guarded = "they would share the network of a cache, past every policy (`memkeep-ephemeral-containers`)"
	return []attempt{
		{
			who: who, way: "ask the member at its own address from within its pod",
			want: RefusedByAdmission, why: guarded + "; were it there, the engine takes no connection from its own address",
			try: func(t *testing.T, _ Outcome) finding {
				return debugged(t, "debugger", &mainGround.pods[0], "", "talk", "--timeout", dialTimeout.String(),
					mainGround.addresses(cachePort)[0], "get catchphrase")
			},
		},
		{
			who: who, way: "ask the other member from within a pod",
			want: RefusedByAdmission, why: guarded + "; were it there, nothing leaves a fleet's pod",
			try: func(t *testing.T, _ Outcome) finding {
				return debugged(t, "other-debugger", &mainGround.pods[0], "", "talk", "--timeout", dialTimeout.String(),
					mainGround.addresses(cachePort)[1], "get catchphrase")
			},
		},
		{
			who: who, way: "search the member's memory from its process namespace (--target)",
			want: RefusedByAdmission, why: guarded + "; were it there, the process is not dumpable",
			try: func(t *testing.T, _ Outcome) finding {
				got := debugged(t, "memory-debugger", &mainGround.pods[1], mainGround.pods[1].Spec.Containers[0].Name,
					"search", "cache-server", fmt.Sprintf("%x", catchphrase))
				if got.outcome == GotNothing && !strings.Contains(got.saw, "1 processes called cache-server seen") {
					t.Fatalf("nothing is proven: the container does not see the cache's process: %s", got.saw)
				}
				return got
			},
		},
	}
}

// debugged adds an ephemeral container that runs the dialer once, and reads its log.
func debugged(t *testing.T, name string, pod *corev1.Pod, target string, args ...string) finding {
	t.Helper()
	as := user(t, name, pod.Namespace,
		may("", "pods/ephemeralcontainers", "patch"), may("", "pods", "get"), may("", "pods/log", "get"))
	like := podOf(pod.Namespace, name, nil, args...).Spec.Containers[0]
	changed := pod.DeepCopy()
	changed.Spec.EphemeralContainers = append(changed.Spec.EphemeralContainers, corev1.EphemeralContainer{
		EphemeralContainerCommon: corev1.EphemeralContainerCommon{
			Name: name, Image: like.Image, ImagePullPolicy: like.ImagePullPolicy, Args: like.Args,
			SecurityContext: like.SecurityContext,
		},
		TargetContainerName: target,
	})
	patch, err := client.StrategicMergeFrom(pod).Data(changed)
	if err != nil {
		t.Fatal(err)
	}
	_, err = as.Kube.CoreV1().Pods(pod.Namespace).Patch(t.Context(), pod.Name, types.StrategicMergePatchType, patch,
		metav1.PatchOptions{}, "ephemeralcontainers")
	if f := refused(t, err); f != nil {
		return *f
	}
	ended := int32(-1)
	_, err = as.Eventually(t.Context(), "ephemeral container "+name, time.Minute, func(ctx context.Context) error {
		now, err := as.Kube.CoreV1().Pods(pod.Namespace).Get(ctx, pod.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		for _, s := range now.Status.EphemeralContainerStatuses {
			if s.Name == name && s.State.Terminated != nil {
				ended = s.State.Terminated.ExitCode
				return nil
			}
		}
		return fmt.Errorf("it has not run: %+v", now.Status.EphemeralContainerStatuses)
	})
	if err != nil {
		t.Fatal(err)
	}
	said, err := as.Kube.CoreV1().Pods(pod.Namespace).
		GetLogs(pod.Name, &corev1.PodLogOptions{Container: name}).DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	o := dialing.FromExitCode(int(ended))
	return judge(o, fmt.Sprintf("%s in %s: %s, %s", name, pod.Name, o, strings.Join(strings.Fields(string(said)), " ")))
}
