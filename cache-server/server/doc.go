// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package server joins the protocol with the engine: it owns listeners and connections, bounds the memory
// that they take, counts what happens and answers questions about it. It holds no item state, and neither
// keys nor values ever reach its log.
//
// Connections are served by event loops, one for each thread that executes Go. A loop has an epoll descriptor
// of its own, and connections are a few hundred bytes in its tables: no goroutine, no buffer. When a socket has
// become readable, one read takes what is there into the loop's workspace, every complete request in it is
// answered into one buffer, and one write sends that. Who has more to do than his share goes to the end of the
// queue.
//
// A loop never waits for a client. What executes requests may: then the goroutine that ran the loop stays with
// that connection until it is done, and a new goroutine takes over the loop (see away.go). What a connection
// keeps while it waits, a partial request, a reply that the client does not read, or such a goroutine, is taken
// from one budget for all connections.
package server
