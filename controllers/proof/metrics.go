// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package proof

import (
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/cache-server/controlapi"
)

var (
	rounds = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "memkeep_proof_rounds_total",
		Help: "Rounds of dialling one member, by what they proved.",
	}, []string{"result"})
	attempts = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "memkeep_proof_attempts_total",
		Help: "What outsiders dialled, members and decoys, by what became of it.",
	}, []string{"outcome"})
	verdictSeconds = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "memkeep_proof_first_verdict_seconds",
		Help:    "Time from the start of a member's container until it was proven or refuted.",
		Buckets: []float64{1, 2, 4, 6, 8, 12, 20, 30, 45, 60, 120, 300},
	})
)

// outcomes are the words that are counted by themselves.
var outcomes = []controlapi.Outcome{
	controlapi.Connected, controlapi.Answered, controlapi.TimedOut, controlapi.Refused, controlapi.Unreachable,
	controlapi.Failed,
}

func init() {
	metrics.Registry.MustRegister(rounds, attempts, verdictSeconds)
	for _, e := range []v1alpha1.Enforcement{
		v1alpha1.EnforcementProven, v1alpha1.EnforcementRefuted, v1alpha1.EnforcementUnknown,
	} {
		rounds.WithLabelValues(strings.ToLower(string(e)))
	}
	for _, o := range outcomes {
		attempts.WithLabelValues(strings.ToLower(string(o)))
	}
}

// count counts an attempt. A word that is not known is no better than a failure.
func count(o controlapi.Outcome) {
	for _, known := range outcomes {
		if o == known {
			attempts.WithLabelValues(strings.ToLower(string(o))).Inc()
			return
		}
	}
	attempts.WithLabelValues(strings.ToLower(string(controlapi.Failed))).Inc()
}
