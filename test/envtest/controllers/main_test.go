// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controllers runs the operator's manager in this process against a
// real API server, with Kubernetes' own controllers for StatefulSets, quota,
// disruption budgets and garbage beside it. Only the kubelet is played: it
// marks pods as ready.
package controllers

import (
	"context"
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"go.uber.org/zap/zapcore"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/memkeep/memkeep/controllers"
	"github.com/memkeep/memkeep/test/envtest/apiserver"
)

var (
	config *rest.Config
	kube   client.Client // The tests' own client: no cache, all rights.
)

func TestMain(m *testing.M) {
	// The tests mostly wait for one another's cluster; more of them at a time
	// than there are processors saves minutes.
	flag.Parse()
	if f := flag.Lookup("test.parallel"); f.Value.String() == strconv.Itoa(runtime.GOMAXPROCS(0)) {
		_ = f.Value.Set("6")
	}
	code, err := run(context.Background(), m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "cluster for the tests:", err)
		code = 1
	}
	os.Exit(code)
}

func run(ctx context.Context, m *testing.M) (code int, err error) {
	ctrl.SetLogger(zap.New(zap.UseDevMode(true), zap.Level(level()), zap.WriteTo(os.Stderr)))
	server, err := apiserver.Start("../../..", "kube-controller-manager")
	if err != nil {
		return 0, err
	}
	config = server.Client
	defer func() {
		if stopErr := server.Stop(); stopErr != nil && err == nil {
			err = fmt.Errorf("stop API server: %w", stopErr)
		}
	}()
	// No limit on the tests' side: what is measured is the operator.
	config.QPS = -1
	if kube, err = client.New(config, client.Options{Scheme: controllers.Scheme()}); err != nil {
		return 0, fmt.Errorf("make client: %w", err)
	}
	stop, err := server.StartControllers(ctx, server.KubeConfig, []string{
		"statefulset-controller", "garbage-collector-controller", "disruption-controller",
		"resourcequota-controller", "namespace-controller",
	})
	if err != nil {
		return 0, err
	}
	defer stop()
	return m.Run(), nil
}

// level is the manager's log level: errors alone, unless a developer asks.
func level() zapcore.Level {
	if os.Getenv("MEMKEEP_TEST_LOG") != "" {
		return zapcore.DebugLevel
	}
	return zapcore.DPanicLevel
}
