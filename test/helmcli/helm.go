// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package helmcli runs the real Helm 3 and Helm 4, as hack/helm.sh compiled them.
package helmcli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Helm is one release of Helm.
type Helm struct {
	// Major is 3 or 4.
	Major int
	// Program is the path of the binary.
	Program string
	// Kubeconfig is the cluster that it works on; empty where none is needed.
	Kubeconfig string
}

// String names it in tests.
func (h Helm) String() string { return fmt.Sprintf("Helm %d", h.Major) }

// Both returns Helm 4 and Helm 3.
func Both(kubeconfig string) ([]Helm, error) {
	out := []Helm{{Major: 4, Kubeconfig: kubeconfig}, {Major: 3, Kubeconfig: kubeconfig}}
	for i, name := range []string{"helm", "helm3"} {
		var err error
		if out[i].Program, err = Program(name); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Program is the path of one of the programs that hack/helm.sh compiles.
func Program(name string) (string, error) {
	cache := os.Getenv("MEMKEEP_CACHE")
	if cache == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find cache directory: %w", err)
		}
		cache = filepath.Join(home, "memkeep")
	}
	path := filepath.Join(cache, "bin", name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: run hack/helm.sh", err)
	}
	return path, nil
}

// Run runs Helm and returns what it wrote to stdout. The error carries what it
// wrote to stderr.
func (h Helm) Run(ctx context.Context, args ...string) (string, error) {
	out, _, err := h.run(ctx, args)
	return out, err
}

// Say runs Helm and returns all that it wrote: hooks' logs go to stderr.
func (h Helm) Say(ctx context.Context, args ...string) (string, error) {
	out, more, err := h.run(ctx, args)
	return out + more, err
}

func (h Helm) run(ctx context.Context, args []string) (out, more string, err error) {
	home, err := os.MkdirTemp("", "helm")
	if err != nil {
		return "", "", fmt.Errorf("run helm: %w", err)
	}
	defer func() { _ = os.RemoveAll(home) }()
	cmd := exec.CommandContext(ctx, h.Program, args...)
	cmd.Env = append(os.Environ(), "HELM_CACHE_HOME="+home, "HELM_CONFIG_HOME="+home, "HELM_DATA_HOME="+home,
		"KUBECONFIG="+h.Kubeconfig)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		text := strings.TrimSpace(stderr.String())
		return stdout.String(), text, fmt.Errorf("%s %s: %w: %s", h, strings.Join(args, " "), err, text)
	}
	return stdout.String(), stderr.String(), nil
}
