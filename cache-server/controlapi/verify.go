// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// ErrOtherPod means that the pod that answers is another than the one that was
// dialled: an address has changed hands.
var ErrOtherPod = errors.New("another pod answers")

// ErrNotEnrolled means that a pod has no certificate that the operator trusts.
var ErrNotEnrolled = errors.New("the pod is not enrolled")

// errName means that a certificate carries another name.
var errName = errors.New("it carries another name")

// verifyAs checks a peer's certificates, its own first: that they lead to one
// of the roots, and that its own is for this usage and this name and for
// nothing else. A certificate without a usage would pass for any of them, so
// the chain alone proves too little.
func verifyAs(
	chain []*x509.Certificate, roots *x509.CertPool, usage x509.ExtKeyUsage, name *url.URL, now time.Time,
) error {
	if len(chain) == 0 {
		return errors.New("there is no certificate")
	}
	if roots == nil {
		return errors.New("no CA is trusted")
	}
	leaf := chain[0]
	if err := namedAs(leaf, name); err != nil {
		return err
	}
	if !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{usage}) || len(leaf.UnknownExtKeyUsage) > 0 {
		return errors.New("the certificate is for another usage")
	}
	if leaf.IsCA {
		return errors.New("the certificate is a CA's")
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err //nolint:wrapcheck // it says what it is about
}

// namedAs checks that a certificate carries this name and no other.
func namedAs(c *x509.Certificate, name *url.URL) error {
	if len(c.URIs) != 1 || len(c.DNSNames)+len(c.IPAddresses)+len(c.EmailAddresses) > 0 {
		return fmt.Errorf("the certificate does not name %s alone: %w", name, errName)
	}
	if c.URIs[0].String() != name.String() {
		return fmt.Errorf("the certificate names %q and not %s: %w", bounded(c.URIs[0].String()), name, errName)
	}
	return nil
}

// bounded cuts what a stranger wrote, for it may end in a log.
func bounded(s string) string {
	const most = 300
	return strings.ToValidUTF8(s[:min(len(s), most)], "?")
}

// onlyP256 returns the key if it is of the one kind that is used here.
func onlyP256(key any) (*ecdsa.PublicKey, error) {
	k, ok := key.(*ecdsa.PublicKey)
	if !ok || k.Curve != elliptic.P256() {
		return nil, errors.New("the key is not an ECDSA key on P-256")
	}
	return k, nil
}

// ParseRequest reads the request of the pod with this UID. It came over a
// connection on which the pod proved to hold the key of the certificate peer;
// the request must be for that very key and for the pod's name alone. Whoever
// signs takes the key from what is returned and nothing else.
func ParseRequest(r CertificateRequest, peer *x509.Certificate, uid string) (*ecdsa.PublicKey, error) {
	block, rest := pem.Decode([]byte(r.PEM))
	if block == nil || block.Type != blockRequest || len(rest) > 0 {
		return nil, errors.New("pem: it is no single certificate request")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("pem: parse the certificate request: %w", err)
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("pem: check the request's signature: %w", err)
	}
	key, err := onlyP256(csr.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("pem: %w", err)
	}
	if peer == nil || !key.Equal(peer.PublicKey) {
		return nil, errors.New("pem: the request is for another key than the connection's")
	}
	names := len(csr.URIs) + len(csr.DNSNames) + len(csr.IPAddresses) + len(csr.EmailAddresses)
	if names != 1 || len(csr.URIs) != 1 || csr.URIs[0].String() != PodName(uid).String() {
		return nil, fmt.Errorf("pem: the request does not name %s alone: %w", PodName(uid), ErrOtherPod)
	}
	return key, nil
}
