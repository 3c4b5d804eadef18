// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/remotecommand"
	clientexec "k8s.io/client-go/util/exec"
)

// Pod is where something is dialled from.
type Pod struct {
	Namespace, Name string
	// Container is the one to run in; the pod's first when empty.
	Container string
}

// String returns the pod's name with its namespace.
func (p Pod) String() string { return p.Namespace + "/" + p.Name }

// Exec runs a command in a pod and returns its exit code. The error is for
// commands that could not be run at all.
func (c *Cluster) Exec(
	ctx context.Context, in Pod, stdin io.Reader, stdout io.Writer, command ...string,
) (int, error) {
	var stderr bytes.Buffer
	req := c.Kube.CoreV1().RESTClient().Post().
		Resource("pods").Namespace(in.Namespace).Name(in.Name).SubResource("exec").
		VersionedParams(&corev1.PodExecOptions{
			Container: in.Container,
			Command:   command,
			Stdin:     stdin != nil,
			Stdout:    true,
			Stderr:    true,
		}, scheme.ParameterCodec)
	executor, err := remotecommand.NewWebSocketExecutor(c.Config, "GET", req.URL().String())
	if err != nil {
		return 0, fmt.Errorf("exec in %s: %w", in, err)
	}
	err = executor.StreamWithContext(ctx, remotecommand.StreamOptions{
		Stdin: stdin, Stdout: stdout, Stderr: &stderr,
	})
	if exit, ok := errors.AsType[clientexec.CodeExitError](err); ok {
		return exit.Code, nil
	}
	if err != nil {
		return 0, fmt.Errorf("exec %v in %s: %w %s", command, in, err, stderr.String())
	}
	return 0, nil
}

// OnNode runs a command inside a node. It needs the development cluster.
func (c *Cluster) OnNode(ctx context.Context, node string, command ...string) (string, error) {
	if c.ExecNode == "" {
		return "", errors.New("no program to run commands on nodes: MEMKEEP_EXEC_NODE is not set")
	}
	out, err := exec.CommandContext(ctx, c.ExecNode, append([]string{node}, command...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("run %v on node %s: %w: %s", command, node, err, out)
	}
	return string(out), nil
}
