// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package differential sends the same streams of commands to Debian's memcached and to the cache server and
// compares the replies byte for byte, in the text protocol, in meta commands and in the binary protocol. CAS numbers,
// which each server gives out by its own count, are compared by where they come again.
//
// Streams are random but made from a seed, so that each run sends the same. MEMKEEP_DIFF_COMMANDS sets how many
// commands of each protocol are compared, MEMKEEP_DIFF_SEED where the streams begin, MEMKEEP_MEMCACHED which memcached
// is asked, MEMKEEP_DIFF_AGAINST which memcached stands in for the cache server: a difference between two of the same
// version is a fault of these tests.
package differential
