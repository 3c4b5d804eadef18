// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build amd64 || arm64

package engine

import "unsafe"

// prefetch asks for the cache line at p. It never faults, wherever p points.
//
//go:noescape
func prefetch(p unsafe.Pointer)
