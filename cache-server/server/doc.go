// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package server joins the protocol with the engine: it owns listeners and connections, bounds the memory
// that they take, counts what happens and answers questions about it. It holds no item state, and neither
// keys nor values ever reach its log.
//
// A connection is one goroutine. While it is idle it holds no buffer: one is taken from a pool when the
// socket has become readable. One read takes what is there, every complete request in it is answered into
// one buffer, and one write sends that. What a connection keeps while it waits, a partial request or a reply
// that the client does not read, is taken from one budget for all connections.
package server
