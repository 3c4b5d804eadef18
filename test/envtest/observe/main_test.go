// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observe asks a real API server what the operator sees of other
// people's objects, which requests that takes, and what happens without rights.
package observe

import (
	"context"
	"fmt"
	"os"
	"testing"

	"go.uber.org/zap/zapcore"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/memkeep/memkeep/controllers"
	"github.com/memkeep/memkeep/test/envtest/apiserver"
)

var (
	config *rest.Config
	kube   client.Client
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "API server for the tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	ctrl.SetLogger(zap.New(zap.Level(zapcore.DPanicLevel), zap.WriteTo(os.Stderr)))
	server, err := apiserver.Start("../../..")
	if err != nil {
		return 0, err
	}
	defer func() {
		if stopErr := server.Stop(); stopErr != nil && err == nil {
			err = fmt.Errorf("stop: %w", stopErr)
		}
	}()
	config = server.Client
	config.QPS = -1
	scheme := controllers.Scheme()
	if err := apiextensionsv1.AddToScheme(scheme); err != nil {
		return 0, fmt.Errorf("add to scheme: %w", err)
	}
	if kube, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return 0, fmt.Errorf("make client: %w", err)
	}
	return m.Run(), nil
}

func create(t *testing.T, objects ...client.Object) {
	t.Helper()
	for _, o := range objects {
		if err := kube.Create(t.Context(), o); err != nil {
			t.Fatalf("create %T %s: %v", o, o.GetName(), err)
		}
		t.Cleanup(func() {
			if err := client.IgnoreNotFound(kube.Delete(context.WithoutCancel(t.Context()), o)); err != nil {
				t.Errorf("delete %T %s: %v", o, o.GetName(), err)
			}
		})
	}
}
