// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package dialling

import (
	"bytes"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

const (
	// decoyPatience is how long a peer may hold a decoy's connection.
	decoyPatience = time.Second
	// decoyReads is how much of what a peer says is read, and forgotten.
	decoyReads = 128
	// acceptPause follows an accept that failed, as when descriptors run out.
	acceptPause = 50 * time.Millisecond
)

// Decoy accepts from everybody, says the same short line to all, and closes.
// It knows nothing, keeps nothing and does nothing on a peer's word; what it
// says is shorter than what a connection costs the peer.
type Decoy struct {
	// Most is how many connections there may be at a time; the others are closed
	// without a word.
	Most int
	// PerSecond is how many connections are answered a second; the others are
	// closed without a word.
	PerSecond int

	mu     sync.Mutex
	active int
	second int64
	spent  int
}

// Serve answers on the listener until that is closed.
func (d *Decoy) Serve(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		switch {
		case errors.Is(err, net.ErrClosed):
			return nil
		case err != nil:
			time.Sleep(acceptPause)
			continue
		case !d.admit(time.Now().Unix()):
			_ = conn.Close()
			continue
		}
		go func() {
			defer d.leave()
			answer(conn)
		}()
	}
}

// admit takes a place for one connection.
func (d *Decoy) admit(second int64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if second != d.second {
		d.second, d.spent = second, 0
	}
	if d.active >= d.Most || d.spent >= d.PerSecond {
		return false
	}
	d.active++
	d.spent++
	return true
}

func (d *Decoy) leave() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.active--
}

// answer waits for a line, or what passes for one, so that nothing unread turns
// the close into a reset, and says the decoy's own.
func answer(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(decoyPatience)); err != nil {
		return
	}
	var text [decoyReads]byte
	for n := 0; n < len(text); {
		m, err := conn.Read(text[n:])
		n += m
		if err != nil {
			return
		}
		if bytes.IndexByte(text[:n], '\n') >= 0 {
			break
		}
	}
	_, _ = io.WriteString(conn, controlapi.DecoyReply+"\r\n")
}
