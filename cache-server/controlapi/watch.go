// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"time"
)

const (
	// watchPeriod is how often a watcher is told what changed without notice, and
	// how long somebody who is not the operator any more may go on listening.
	watchPeriod = 15 * time.Second
	// watchPause is the least time between two states, so that what changes all
	// the time does not become a stream without end.
	watchPause = 20 * time.Millisecond
)

// watch tells the state, and again with every change.
func (s *Server) watch(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	w.Header().Set("Content-Type", contentType)
	ticker := time.NewTicker(s.watchPeriod)
	defer ticker.Stop()
	var last []byte
	for {
		changed := s.changes()
		state, err := json.Marshal(s.State())
		if err != nil {
			s.cfg.Logger.Error("State cannot be told", "error", err)
			return
		}
		if !bytes.Equal(state, last) {
			last = state
			_ = control.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := w.Write(append(state, '\n')); err != nil {
				return
			}
			if control.Flush() != nil {
				return
			}
			// A deadline ends the stream when it comes, whether anything is being written or not.
			_ = control.SetWriteDeadline(time.Time{})
		}
		select {
		case <-time.After(watchPause):
		case <-r.Context().Done():
			return
		}
		select {
		case <-changed.pod:
		case <-changed.port:
		case <-ticker.C:
			if s.cfg.Identity.VerifyOperator(r.TLS) != nil {
				return
			}
		case <-r.Context().Done():
			return
		}
	}
}

// changes are channels that are closed with the next change.
type changes struct{ pod, port <-chan struct{} }

// changes returns them; it is called before the state is read, so that no
// change falls in between.
func (s *Server) changes() changes {
	var out changes
	if s.cfg.Changed != nil {
		out.pod = s.cfg.Changed()
	}
	s.mu.Lock()
	out.port = s.changed
	s.mu.Unlock()
	return out
}
