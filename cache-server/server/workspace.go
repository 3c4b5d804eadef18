// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"sync"

	"github.com/memkeep/memkeep/cache-server/engine"
	"github.com/memkeep/memkeep/cache-server/protocol"
)

const (
	// bufferSize is the size of a pooled input and of a pooled output buffer.
	bufferSize = 16 << 10
	// flushAt is how many bytes of replies are gathered before they are written out and no further request
	// is executed until the client has taken them.
	flushAt = bufferSize
	// outputSize leaves room behind flushAt for a value of common size.
	outputSize = flushAt + 4<<10
	// workspaceSize is what a workspace takes, as Go's allocator rounds it.
	workspaceSize = bufferSize + outputSize + 4<<10
)

// workspace is what a connection needs while it works, and gives back while it waits.
type workspace struct {
	in       []byte // unread input is in[c.start:]
	out      []byte
	tally    tally
	request  protocol.Request
	mutation engine.Mutation
	held     engine.Snapshot              // a large value on its way out
	heldAt   int                          // where it stands in out
	key      [protocol.MaxKeyLen]byte     // decoded from base64
	header   [protocol.MaxMetaHeader]byte // goes before a value
	input    [bufferSize]byte
	output   [outputSize]byte
}

var workspaces = sync.Pool{New: func() any { return new(workspace) }}

func takeWorkspace() *workspace {
	ws := workspaces.Get().(*workspace)
	ws.in = ws.input[:0]
	ws.out = ws.output[:0]
	return ws
}

// giveWorkspace returns ws to the pool without the pointers to larger buffers that it may have held.
func giveWorkspace(ws *workspace) {
	ws.held.Release()
	ws.in, ws.out = nil, nil
	ws.request = protocol.Request{}
	ws.mutation = engine.Mutation{}
	workspaces.Put(ws)
}
