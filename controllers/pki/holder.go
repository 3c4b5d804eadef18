// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"sync"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// errNone means that the CA was not read yet.
var errNone = errors.New("the operator's CA is not known yet")

// Holder holds the authority in force, and the operator's own certificate,
// which it renews when it is asked for.
type Holder struct {
	now func() time.Time

	mu        sync.Mutex
	authority *Authority
	own       *tls.Certificate
}

// NewHolder returns a holder without authority.
func NewHolder(now func() time.Time) *Holder { return &Holder{now: now} }

// Set puts an authority in force. Where it is another one, the operator's
// certificate is made anew.
func (h *Holder) Set(a *Authority) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.authority == nil || h.authority.Bundle() != a.Bundle() {
		h.own = nil
	}
	h.authority = a
}

// Bundle returns what pods are to trust; empty while that is not known.
func (h *Holder) Bundle() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.authority == nil {
		return ""
	}
	return h.authority.Bundle()
}

// Operator returns who the operator is on control ports.
func (h *Holder) Operator() *controlapi.Operator {
	return &controlapi.Operator{Certificate: h.certificate, Roots: h.roots, Now: h.now}
}

// Sign signs a pod's key for the pod with this UID.
func (h *Holder) Sign(key *ecdsa.PublicKey, uid string) (controlapi.Certificate, error) {
	h.mu.Lock()
	a := h.authority
	h.mu.Unlock()
	if a == nil {
		return controlapi.Certificate{}, errNone
	}
	return a.PodCertificate(key, uid, h.now())
}

func (h *Holder) certificate() (*tls.Certificate, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.authority == nil {
		return nil, errNone
	}
	if h.own == nil || !h.now().Before(RenewAt(h.own.Leaf.NotAfter)) {
		own, err := h.authority.OperatorCertificate(h.now())
		if err != nil {
			return nil, err
		}
		h.own = own
	}
	return h.own, nil
}

func (h *Holder) roots() (*x509.CertPool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.authority == nil {
		return nil, errNone
	}
	return h.authority.Roots(), nil
}
