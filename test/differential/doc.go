// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package differential sends the same streams of commands to Debian's memcached and to the cache server and
// compares the replies byte for byte.
//
// Streams are random but made from a seed, so that each run sends the same. MEMKEEP_DIFF_COMMANDS sets how many
// commands are compared, MEMKEEP_DIFF_SEED where the streams begin, MEMCACHED_BIN which memcached is asked.
package differential
