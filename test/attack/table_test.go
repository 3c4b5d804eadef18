// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"os"
	"slices"
	"testing"
)

// table is every attempt, in the order of the document.
func table() []attempt {
	return slices.Concat(
		podAttempts(), neighbourAttempts(), nodeAttempts(), verifiedAttempts(), forgedAttempts(),
		serviceAttempts(), sliceAttempts(), workloadAttempts(), barePodAttempts(), policyAttempts(),
		editorAttempts(), namespaceAttempts(),
		forwardAttempts(), execAttempts(), proxyAttempts(), debugAttempts(),
	)
}

// TestAttack makes every attempt, takes protections away and makes some again,
// and writes down what they came to when all were made.
func TestAttack(t *testing.T) {
	notes := &results{found: map[string]Result{}}
	all := table()
	stillServed(t, "before the attack")
	t.Run("attempts", func(t *testing.T) {
		for i := range all {
			a := &all[i]
			t.Run(a.who+": "+a.way, func(t *testing.T) {
				t.Parallel()
				a.run(t, notes)
			})
		}
	})
	stillServed(t, "after the attack")
	mutations := mutate(t, all)

	report := &Report{Mutations: mutations}
	for i := range all {
		result, made := notes.found[all[i].who+all[i].way]
		if !made {
			t.Logf("no results are written: not every attempt was made")
			return
		}
		report.Results = append(report.Results, result)
	}
	if path := os.Getenv(envResults); path != "" && !t.Failed() {
		if err := report.Write(path); err != nil {
			t.Fatal(err)
		}
	}
}

// stillServed checks that a client reads the catchphrase: where it cannot, that
// nobody else could proves nothing.
func stillServed(t *testing.T, when string) {
	t.Helper()
	for i := range mainGround.pods {
		addr := mainGround.addresses(cachePort)[i]
		if got := ask(t, mainGround.client(), addr); got.outcome != ReadIt {
			t.Fatalf("nothing is proven: %s a client does not read the catchphrase: %s", when, got.saw)
		}
	}
}
