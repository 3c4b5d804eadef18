// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr/funcr"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/klog/v2"
)

// Forward is a running port-forward, as `kubectl port-forward` makes it.
type Forward struct {
	// Address is the local end, on 127.0.0.1.
	Address string

	stop context.CancelFunc
	done chan struct{}

	mu  sync.Mutex
	log []string
}

// Forward opens a port-forward to a port of a pod.
func (c *Cluster) Forward(ctx context.Context, to Pod, port int) (*Forward, error) {
	url := c.Kube.CoreV1().RESTClient().Post().
		Resource("pods").Namespace(to.Namespace).Name(to.Name).SubResource("portforward").URL()
	dialer, err := portforward.NewSPDYOverWebsocketDialerForStreaming(url, c.Config)
	if err != nil {
		return nil, fmt.Errorf("port-forward to %s: %w", to, err)
	}
	f := &Forward{done: make(chan struct{})}
	ctx, f.stop = context.WithCancel(ctx)
	// Failures of single connections come as log lines only.
	ctx = klog.NewContext(ctx, funcr.New(func(_, args string) { f.note(args) }, funcr.Options{}))
	ready := make(chan struct{})
	forwarder, err := portforward.NewOnAddressesForStreamingWithContext(ctx, dialer,
		[]string{"127.0.0.1"}, []string{fmt.Sprintf(":%d", port)}, ready, io.Discard, io.Discard)
	if err != nil {
		f.stop()
		return nil, fmt.Errorf("port-forward to %s: %w", to, err)
	}
	failed := make(chan error, 1)
	go func() {
		defer close(f.done)
		failed <- forwarder.ForwardPorts()
	}()
	select {
	case <-ready:
	case err := <-failed:
		f.stop()
		return nil, fmt.Errorf("port-forward to %s: %w", to, err)
	case <-time.After(15 * time.Second):
		f.stop()
		return nil, fmt.Errorf("port-forward to %s: not ready within 15 s", to)
	}
	ports, err := forwarder.GetPorts()
	if err != nil || len(ports) == 0 {
		f.Close()
		return nil, errors.Join(fmt.Errorf("port-forward to %s: no local port", to), err)
	}
	f.Address = fmt.Sprintf("127.0.0.1:%d", ports[0].Local)
	return f, nil
}

// note keeps a line that the forwarder logged.
func (f *Forward) note(line string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.log = append(f.log, line)
}

// cause finds what the kubelet says about a connection that it could not forward.
var cause = regexp.MustCompile(`dial tcp[46]? ([^ ]+): (?:connect: )?([a-z ]+)`)

// Cause returns why connections could not be forwarded, as short as it can be
// said, or "" when nothing went wrong.
func (f *Forward) Cause() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := strings.Join(f.log, "\n")
	if m := cause.FindStringSubmatch(all); m != nil {
		return strings.TrimSpace(m[2]) + " at " + m[1] + " inside the pod"
	}
	return all
}

// Close ends the port-forward.
func (f *Forward) Close() {
	f.stop()
	<-f.done
}
