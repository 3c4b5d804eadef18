// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command manager is the operator: it keeps fleets as their Memcache objects
// want them.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"time"

	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/cmd/manager/probe"
	"github.com/memkeep/memkeep/controllers"
)

// version is set by the build.
var version = "unknown"

// Least rights in the operator's own namespace: its lease, and events about it.
// +kubebuilder:rbac:groups=coordination.k8s.io,namespace=memkeep-system,resources=leases,verbs=get;create;update
// +kubebuilder:rbac:groups="",namespace=memkeep-system,resources=events,verbs=create;patch
// What the filter of the metrics endpoint asks the API server.
// +kubebuilder:rbac:groups=authentication.k8s.io,resources=tokenreviews,verbs=create
// +kubebuilder:rbac:groups=authorization.k8s.io,resources=subjectaccessreviews,verbs=create

const (
	leaderElectionID = "memkeep.memkeep.io"
	// shutdownTimeout leaves the kubelet's 30 seconds room.
	shutdownTimeout = 20 * time.Second
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "probe" {
		if err := probe.Run(ctrl.SetupSignalHandler(), os.Args[2:], os.Getenv, version, os.Stderr); err != nil {
			fmt.Fprintf(os.Stderr, "manager probe: %v\n", err)
			os.Exit(2)
		}
		return
	}
	o, err := parse(os.Args[1:], os.Getenv, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return
	case err != nil:
		fmt.Fprintf(os.Stderr, "manager: %v\n", err)
		os.Exit(2)
	case o.showVersion:
		fmt.Println(version)
		return
	}
	logger := o.logger(os.Stderr)
	ctrl.SetLogger(logger)
	klog.SetLogger(logger.WithName("client-go"))
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		logger.Error(err, "Manager stopped")
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, o *options) error {
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the cluster: %w", err)
	}
	mgr, err := ctrl.NewManager(cfg, managerOptions(o))
	if err != nil {
		return fmt.Errorf("create manager: %w", err)
	}
	if err := controllers.Setup(ctx, mgr, o.settings(), o.ownNamespaces()); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("add health check: %w", err)
	}
	if err := mgr.AddReadyzCheck("cache", synced(mgr.GetCache())); err != nil {
		return fmt.Errorf("add readiness check: %w", err)
	}
	ctrl.Log.Info("Starting", "version", version, "cacheImage", o.cacheImage, "namespaces", o.watchNamespaces)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("run manager: %w", err)
	}
	return nil
}

// synced answers whether what is watched has been read once. Standbys read it,
// too, so that they can take over at once.
func synced(c cache.Cache) healthz.Checker {
	return func(req *http.Request) error {
		ctx, cancel := context.WithTimeout(req.Context(), time.Second)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New("caches are not in sync yet")
		}
		return nil
	}
}

func managerOptions(o *options) ctrl.Options {
	out := controllers.Options(o.watchNamespaces)
	controllers.WatchOutsiders(&out, o.outsiders())
	out.HealthProbeBindAddress = o.healthAddress
	out.GracefulShutdownTimeout = new(shutdownTimeout)
	out.LeaderElection = o.leaderElect
	out.LeaderElectionID = leaderElectionID
	out.LeaderElectionNamespace = o.leaderElectionNamespace
	out.LeaderElectionLabels = map[string]string{v1alpha1.LabelComponent: v1alpha1.ComponentOperator}
	// Safe, because main ends as soon as the manager has.
	out.LeaderElectionReleaseOnCancel = true
	out.Metrics = metricsserver.Options{
		BindAddress:    o.metricsAddress,
		SecureServing:  true,
		FilterProvider: filters.WithAuthenticationAndAuthorization,
		CertDir:        o.metricsCertPath,
	}
	if !o.http2 {
		out.Metrics.TLSOpts = append(out.Metrics.TLSOpts, func(c *tls.Config) {
			c.NextProtos = []string{"http/1.1"}
		})
	}
	return out
}
