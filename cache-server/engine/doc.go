// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package engine stores a cache's items within one budget of memory. It knows no socket and no protocol.
package engine
