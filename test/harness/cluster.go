// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package harness is what the demo and the end-to-end tests have in common: a
// connection to a real cluster, pods to dial from, and checks of Memkeep's
// promises that tell what was seen when one is broken.
package harness

import (
	"errors"
	"fmt"
	"os"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
)

// The environment that `make demo` and `make test-e2e` set.
const (
	envKubeconfig  = "KUBECONFIG"
	envInstallYAML = "MEMKEEP_INSTALL_YAML"
	envDialerImage = "MEMKEEP_DIALER_IMAGE"
	envCacheImage  = "MEMKEEP_CACHE_IMAGE"
	envExecNode    = "MEMKEEP_EXEC_NODE"
)

// Cluster is a real Kubernetes with everything that the tests need to use it.
type Cluster struct {
	client.WithWatch

	// Config is how the API server is reached.
	Config *rest.Config
	// Kube is for what the other client cannot do: exec, eviction, proxies.
	Kube kubernetes.Interface
	// Context is the name of the kubeconfig's context.
	Context string
	// InstallYAML is the path of the manifest that installs the operator.
	InstallYAML string
	// DialerImage is the image of the pods that dial.
	DialerImage string
	// CacheImage is the image of the fleets' pods, as it was loaded.
	CacheImage string
	// ExecNode is a program that runs a command inside a node; empty where there is none.
	ExecNode string
	// Progress prints a line about something that takes long.
	Progress func(format string, args ...any)
}

// Connect reads the environment and returns the cluster that it names.
func Connect() (*Cluster, error) {
	if os.Getenv(envKubeconfig) == "" {
		return nil, errors.New("KUBECONFIG is not set: run `make demo` or `make test-e2e`, which set it")
	}
	kubeconfig := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		clientcmd.NewDefaultClientConfigLoadingRules(), nil)
	config, err := kubeconfig.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	raw, err := kubeconfig.RawConfig()
	if err != nil {
		return nil, fmt.Errorf("read kubeconfig: %w", err)
	}
	// Many tests share one client; the API server's own fairness is enough.
	config.QPS = -1
	// Warnings of the API server would only get between the lines of a transcript.
	config.WarningHandlerWithContext = rest.NoWarnings{}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, memkeepv1alpha1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("build scheme: %w", err)
		}
	}
	c := &Cluster{
		Config:      config,
		Context:     raw.CurrentContext,
		InstallYAML: os.Getenv(envInstallYAML),
		DialerImage: os.Getenv(envDialerImage),
		CacheImage:  os.Getenv(envCacheImage),
		ExecNode:    os.Getenv(envExecNode),
		Progress:    func(string, ...any) {},
	}
	if c.InstallYAML == "" || c.DialerImage == "" {
		return nil, fmt.Errorf("%s and %s must be set: run `make demo` or `make test-e2e`, which set them",
			envInstallYAML, envDialerImage)
	}
	if c.WithWatch, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	if c.Kube, err = kubernetes.NewForConfig(config); err != nil {
		return nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	return c, nil
}
