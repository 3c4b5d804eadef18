// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package version holds the release that a binary was built as.
package version

// version is set by the linker.
var version = "v0.0.0-unreleased"

// Version returns the release, for example v0.1.0.
func Version() string { return version }
