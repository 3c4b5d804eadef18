// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package protocol turns bytes into requests and plain values into replies, in the words of memcached.
// It knows no storage and no socket: a server finds a request in its buffer with NextLine and Parse, acts
// on it, and appends the reply with the Append functions.
//
// The grammar follows memcached 1.6 to the byte, odd corners included; differences are listed in
// docs/compatibility.md.
package protocol
