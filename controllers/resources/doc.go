// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package resources builds a fleet's children. Every function is pure: a
// *Memcache and the operator's settings go in, an apply configuration comes
// out. There is no client and no clock here.
package resources
