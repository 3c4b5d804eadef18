// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !race

package engine

// slowdown is by how much the tests that only need volume are cut under the race detector.
const slowdown = 1
