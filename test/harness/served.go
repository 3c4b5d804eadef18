// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/memkeep/memkeep/test/dialer/dialing"
)

// Serves tells whether the cache at addr answers a pod. A connection alone is no
// answer: a shut gate and a lock of the cache's own accept first and then say nothing.
func (c *Cluster) Serves(ctx context.Context, from Pod, addr string) (bool, Transcript, error) {
	t, err := c.Talk(ctx, from, addr, "version")
	return slices.ContainsFunc(t.Replies(), answered), t, err
}

func answered(line string) bool { return strings.HasPrefix(line, "VERSION ") }

// ServesNode tells whether a pod's cache answers a node, and what the node saw.
func (c *Cluster) ServesNode(ctx context.Context, node string, pod *corev1.Pod) (bool, string, error) {
	script := fmt.Sprintf(
		`exec 3<>/dev/tcp/%s/11211 && echo connected && printf 'version\r\n' >&3 && timeout 5 cat <&3`, pod.Status.PodIP)
	out, err := c.OnNode(ctx, node, "bash", "-c", script+"; true")
	return strings.Contains(out, "VERSION "), out, err
}

// StartHostPod starts a pod on its node's network, in a namespace that lets it.
func (c *Cluster) StartHostPod(ctx context.Context, want DialerPod) (Pod, error) {
	pod := c.PodOf(want)
	pod.Spec.HostNetwork = true
	_, err := c.StartPodAs(ctx, pod)
	return Pod{Namespace: want.Namespace, Name: want.Name}, err
}

// Asking asks a cache again and again.
type Asking struct {
	cancel  context.CancelFunc
	done    chan struct{}
	asked   int
	shut    int
	served  []time.Time
	failure error
}

// Ask has a pod ask the cache at addr again and again, until Stop.
func (c *Cluster) Ask(ctx context.Context, from Pod, addr string) *Asking {
	ctx, cancel := context.WithCancel(ctx)
	a := &Asking{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for ctx.Err() == nil {
			served, t, err := c.Serves(ctx, from, addr)
			switch {
			case ctx.Err() != nil:
			case err != nil:
				a.failure = err
			case served:
				a.served = append(a.served, time.Now())
				a.asked++
			default:
				a.asked++
				// A cache that hangs up on what was sent resets: that was a connection.
				if Denied(t.Outcome) && t.Outcome != dialing.Reset {
					a.shut++
				}
			}
		}
	}()
	return a
}

// Stop ends the asking and returns how often it was asked, how often no
// connection was had at all, and when there was an answer.
func (a *Asking) Stop() (asked, shut int, served []time.Time, err error) {
	a.cancel()
	<-a.done
	if a.asked == 0 {
		return 0, 0, nil, fmt.Errorf("nobody could ask: %w", a.failure)
	}
	return a.asked, a.shut, a.served, nil
}
