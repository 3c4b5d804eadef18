// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package memory runs the cache server in a memory cgroup with the limit that a pod would have, and lets clients
// do their worst. The kernel must have no reason to kill it, nor even to reclaim from it.
package memory
