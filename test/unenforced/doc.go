// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package unenforced looks at Memkeep on a real cluster whose network accepts
// every NetworkPolicy and enforces none: that this is found out and told, and
// what guards a fleet there all the same. It needs the build tag e2e.
package unenforced
