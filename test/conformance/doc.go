// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package conformance runs memcached's own test scripts, taken from a source tree of memcached at test time,
// against the cache server. What of them does not apply stands in docs/compatibility.md with the reason, and a
// script that is listed there and passes is as much a failure as one that is not and fails.
package conformance
