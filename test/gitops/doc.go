// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package gitops tests Memkeep under Argo CD's own controllers: the
// Applications of examples/gitops, from local git repositories, with each way
// of applying side by side. Its tests are behind the build tag e2e; `make
// test-gitops` runs them.
package gitops
