// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package attack

import (
	"context"
	"fmt"
	"os"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/memkeep/memkeep/test/harness"
)

// envResults is where the results go when every attempt was made.
const envResults = "MEMKEEP_ATTACK_RESULTS"

// ours marks everything that the suite makes, so that a killed run's is found.
const ours = "attack.memkeep.test/run"

var (
	cluster  *harness.Cluster
	operator harness.Operator
)

func TestMain(m *testing.M) {
	suite := harness.Suite{
		Name: "attack", Mark: ours, Parallel: 24, Prepare: prepare,
		Marked: []client.ObjectList{&rbacv1.ClusterRoleBindingList{}, &rbacv1.ClusterRoleList{}},
	}
	os.Exit(suite.Main(context.Background(), m))
}

// prepare brings up the fleets and everybody who dials.
func prepare(ctx context.Context, c *harness.Cluster, o harness.Operator) error {
	cluster, operator = c, o
	if err := stage(ctx); err != nil {
		return fmt.Errorf("set the stage: %w", err)
	}
	cluster.Progress("the fleets hold %s, and everybody who dials is there", catchphrase)
	return nil
}
