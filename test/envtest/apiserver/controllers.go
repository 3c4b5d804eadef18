// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// StartControllers runs the named ones of Kubernetes' own controllers with a
// kubeconfig and further flags of their manager, until stop is called.
func (s *Server) StartControllers(
	ctx context.Context, kubeconfig []byte, names []string, flags ...string,
) (stop func(), err error) {
	dir, err := os.MkdirTemp("", "memkeep-controllers-")
	if err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	clean := func() { _ = os.RemoveAll(dir) }
	path := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(path, kubeconfig, 0o600); err != nil {
		clean()
		return nil, fmt.Errorf("write kubeconfig: %w", err)
	}
	port, err := freePort(ctx)
	if err != nil {
		clean()
		return nil, err
	}
	output, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		clean()
		return nil, fmt.Errorf("create log: %w", err)
	}
	flags = append([]string{
		"--kubeconfig=" + path, "--leader-elect=false", "--bind-address=127.0.0.1",
		"--secure-port=" + strconv.Itoa(port), "--cert-dir=" + dir, "--controllers=" + strings.Join(names, ","),
	}, flags...)
	cmd := exec.CommandContext(ctx, s.Program("kube-controller-manager"), flags...)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		clean()
		return nil, fmt.Errorf("start Kubernetes' controllers: %w", err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = output.Close()
		clean()
	}, nil
}

func freePort(ctx context.Context) (int, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("find a free port: %w", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port, nil
}
