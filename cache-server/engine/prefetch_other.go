// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build !amd64 && !arm64

package engine

import "unsafe"

// prefetch does nothing on processors that it was not written for.
func prefetch(unsafe.Pointer) {}
