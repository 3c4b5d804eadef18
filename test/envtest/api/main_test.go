// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package api asks a real API server what it makes of Memcaches: what it
// accepts, refuses, defaults, merges and explains.
package api

import (
	"context"
	"fmt"
	"os"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	memkeepv1alpha1 "github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/test/envtest/apiserver"
)

// root is the top of the repository, seen from this package.
const root = "../../.."

// definition is the CustomResourceDefinition that the installation ships.
const definition = root + "/config/crd/bases/memkeep.io_memcaches.yaml"

var (
	server *apiserver.Server
	kube   client.Client // Strict: an unknown field is an error, not a warning.
)

func TestMain(m *testing.M) {
	code, err := run(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "API server for the tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, m *testing.M) (code int, err error) {
	if server, err = apiserver.Start(root); err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := server.Stop(); stopErr != nil && err == nil {
			err = fmt.Errorf("stop: %w", stopErr)
		}
	}()
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(apiextensionsv1.AddToScheme(scheme))
	utilruntime.Must(memkeepv1alpha1.AddToScheme(scheme))
	kube, err = client.New(server.Client, client.Options{Scheme: scheme, FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		return 0, fmt.Errorf("make client: %w", err)
	}
	for _, name := range []string{"caches", "monitoring"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if err := kube.Create(ctx, ns); err != nil {
			return 0, fmt.Errorf("create namespace: %w", err)
		}
	}
	return m.Run(), nil
}

// object parses one YAML document.
func object(t *testing.T, doc string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(doc), &u.Object); err != nil {
		t.Fatalf("parse object: %v\n%s", err, doc)
	}
	return u
}

// memcache returns a Memcache of that name with a spec in YAML's flow style.
func memcache(t *testing.T, name, spec string) *unstructured.Unstructured {
	t.Helper()
	return object(t, fmt.Sprintf(`{apiVersion: memkeep.io/v1alpha1, kind: Memcache,
		metadata: {name: %q, namespace: caches}, spec: %s}`, name, spec))
}

// create creates an object and removes it when the test ends.
func create(t *testing.T, u *unstructured.Unstructured) {
	t.Helper()
	if err := kube.Create(t.Context(), u); err != nil {
		t.Fatalf("create %s: %v", u.GetName(), err)
	}
	t.Cleanup(func() {
		if err := client.IgnoreNotFound(kube.Delete(context.WithoutCancel(t.Context()), u)); err != nil {
			t.Errorf("delete %s: %v", u.GetName(), err)
		}
	})
}
