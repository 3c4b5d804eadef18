// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"time"
)

// protocol is the one that is spoken inside TLS: HTTP/2.
const protocol = "h2"

// base is what both sides agree on: TLS 1.3 alone, HTTP/2 alone, and no
// resumed session, so that each connection is judged by the certificates of
// its own time.
func base() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, MaxVersion: tls.VersionTLS13,
		NextProtos: []string{protocol}, SessionTicketsDisabled: true,
	}
}

// ServerConfig returns how the pod serves: to the operator and to nobody else.
func (i *Identity) ServerConfig() *tls.Config {
	c := base()
	c.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return i.current(), nil }
	// The chain is verified below, by the CAs that are trusted at that moment.
	c.ClientAuth = tls.RequireAnyClientCert
	c.VerifyConnection = func(s tls.ConnectionState) error { return i.VerifyOperator(&s) }
	return c
}

// VerifyOperator checks that the other side of a connection is the operator, by
// what is trusted now. It holds for a handshake, and again for a request on a
// connection that is open for long.
func (i *Identity) VerifyOperator(s *tls.ConnectionState) error {
	if s == nil || s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != protocol {
		return errors.New("the control port speaks HTTP/2 over TLS 1.3 alone")
	}
	roots, err := i.roots()
	if err != nil {
		return err
	}
	if err := verifyAs(s.PeerCertificates, roots, x509.ExtKeyUsageClientAuth, OperatorName(), i.now()); err != nil {
		return fmt.Errorf("not the operator: %w", err)
	}
	return nil
}

// Operator is who the operator is on the control ports of pods.
type Operator struct {
	// Certificate returns the certificate to present, with its key.
	Certificate func() (*tls.Certificate, error)
	// Roots are the CAs that sign pods' certificates.
	Roots Roots
	// Now is the time; nil means the real one.
	Now func() time.Time
}

// ClientConfig returns how the operator dials the pod with this UID: it proves
// who it is and talks to that very pod alone.
func (o *Operator) ClientConfig(uid string) *tls.Config {
	c := o.config()
	c.VerifyConnection = func(s tls.ConnectionState) error { return o.VerifyPod(&s, uid) }
	return c
}

// EnrolmentConfig returns how the operator dials a pod that may have no
// certificate yet. The pod's key is proven and its name is not: that this is
// the pod rests on the address that the API server told for the UID. Over such
// a connection nothing may be done but to read the pod's request, see
// ParseRequest, and to answer it.
func (o *Operator) EnrolmentConfig(uid string) *tls.Config {
	c := o.config()
	c.VerifyConnection = func(s tls.ConnectionState) error {
		if s.NegotiatedProtocol != protocol || len(s.PeerCertificates) == 0 {
			return errors.New("the pod does not speak the control port's protocol")
		}
		if _, err := onlyP256(s.PeerCertificates[0].PublicKey); err != nil {
			return err
		}
		if err := namedAs(s.PeerCertificates[0], PodName(uid)); err != nil {
			return fmt.Errorf("%w: %w", ErrOtherPod, err)
		}
		return nil
	}
	return c
}

// VerifyPod checks that the other side of a connection is the pod with this
// UID, enrolled.
func (o *Operator) VerifyPod(s *tls.ConnectionState, uid string) error {
	if s == nil || s.Version != tls.VersionTLS13 || s.NegotiatedProtocol != protocol {
		return errors.New("the pod does not speak the control port's protocol")
	}
	roots, err := o.Roots()
	if err != nil {
		return err
	}
	now := time.Now
	if o.Now != nil {
		now = o.Now
	}
	err = verifyAs(s.PeerCertificates, roots, x509.ExtKeyUsageServerAuth, PodName(uid), now())
	switch {
	case errors.Is(err, errName):
		return fmt.Errorf("%w: %w", ErrOtherPod, err)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNotEnrolled, err)
	}
	return nil
}

func (o *Operator) config() *tls.Config {
	c := base()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return o.Certificate() }
	// The pod is known by its UID and not by a host name; VerifyConnection,
	// which every caller sets, verifies all of the chain.
	c.InsecureSkipVerify = true
	return c
}
