// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
)

// wire stands between the operator and the API server. It records what is
// written, and a test may act before a request goes out or answer it itself.
type wire struct {
	mu     sync.Mutex
	writes []string
	before hook
}

// hook sees each write, and the way to the API server. An answer other than nil
// is returned to the operator in place of the API server's.
type hook func(req *http.Request, server http.RoundTripper) *http.Response

// trip is the wire of one of the operator's clients.
type trip struct {
	*wire
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (w trip) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Method == http.MethodGet || strings.Contains(req.URL.Path, "/events") {
		return w.next.RoundTrip(req)
	}
	w.mu.Lock()
	w.writes = append(w.writes, req.Method+" "+req.URL.Path)
	before := w.before
	w.mu.Unlock()
	if before != nil {
		if answer := before(req, w.next); answer != nil {
			if req.Body != nil {
				_ = req.Body.Close()
			}
			return answer, nil
		}
	}
	return w.next.RoundTrip(req)
}

// intercept sets what happens before each write.
func (w *wire) intercept(before hook) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.before = before
}

// taken returns the writes since the last call and forgets them.
func (w *wire) taken() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := w.writes
	w.writes = nil
	return out
}

// answer is what an API server says when a request fails.
func answer(req *http.Request, code int, reason string) *http.Response {
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,`+
		`"message":"made up by the test","code":%d}`, reason, code)
	header := http.Header{"Content-Type": {"application/json"}}
	if code == http.StatusTooManyRequests {
		header.Set("Retry-After", "1")
	}
	return &http.Response{
		StatusCode: code, Status: http.StatusText(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewBufferString(body)), Request: req,
	}
}
