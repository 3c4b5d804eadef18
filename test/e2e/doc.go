// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package e2e tests Memkeep's promises on a real cluster, by dialling. Its tests
// are behind the build tag e2e; `make test-e2e` runs them.
package e2e
