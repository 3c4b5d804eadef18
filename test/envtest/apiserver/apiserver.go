// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver starts a real API server with Memkeep's definitions for
// the tests beside it.
package apiserver

import (
	"fmt"
	"os"
	"path/filepath"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// Server is an API server and its etcd.
type Server struct {
	*envtest.Environment
	// Client reaches it with all rights.
	Client *rest.Config
}

// Start starts an API server that has the definitions of the installation,
// which root, the way to the top of the repository, leads to. The programs are
// those that `make test-deps` builds; more names others that a test needs, which
// lie beside them.
func Start(root string, more ...string) (*Server, error) {
	return start([]string{filepath.Join(root, "config/crd/bases")}, more)
}

// StartBare starts an API server that knows nothing of Memkeep.
func StartBare() (*Server, error) {
	return start(nil, nil)
}

func start(definitions, more []string) (*Server, error) {
	bin, err := binaries(append([]string{"kube-apiserver", "etcd", "kubectl"}, more...))
	if err != nil {
		return nil, err
	}
	env := &envtest.Environment{
		BinaryAssetsDirectory: bin,
		CRDDirectoryPaths:     definitions,
		ErrorIfCRDPathMissing: true,
	}
	// With the 254 addresses that it has otherwise, a 254th fleet waits for its Service for ever.
	env.ControlPlane.GetAPIServer().Configure().Set("service-cluster-ip-range", "10.0.0.0/16")
	config, err := env.Start()
	if err != nil {
		return nil, fmt.Errorf("start API server: %w", err)
	}
	return &Server{Environment: env, Client: config}, nil
}

// Program is the path of a program that lies beside the API server.
func (s *Server) Program(name string) string {
	return filepath.Join(s.BinaryAssetsDirectory, name)
}

// binaries returns the directory that holds Kubernetes' programs.
func binaries(names []string) (string, error) {
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	if dir == "" {
		cache := os.Getenv("MEMKEEP_CACHE")
		if cache == "" {
			home, err := os.UserCacheDir()
			if err != nil {
				return "", fmt.Errorf("find cache directory: %w", err)
			}
			cache = filepath.Join(home, "memkeep")
		}
		dir = filepath.Join(cache, "bin")
	}
	for _, name := range names {
		if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
			return "", fmt.Errorf("%w: run 'make test-deps', or point KUBEBUILDER_ASSETS at the binaries", err)
		}
	}
	return dir, nil
}
