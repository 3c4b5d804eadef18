// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package linearizability has many clients work on few keys of a cache server over sockets, and checks with porcupine
// that there is an order of all their requests, each at some moment between its sending and its reply, in which one
// client alone would have seen the same replies. MEMKEEP_LINEAR_REQUESTS sets how many requests each client sends.
package linearizability
