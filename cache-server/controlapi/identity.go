// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/url"
	"regexp"
	"sync/atomic"
	"time"
)

// selfSignedFor is how long the certificate of the start lasts: longer than a
// process does. Nothing is trusted because of it.
const selfSignedFor = 20 * 365 * 24 * time.Hour

// uidShape is what UIDs of Kubernetes are made of.
var uidShape = regexp.MustCompile(`^[0-9A-Za-z][-0-9A-Za-z._]{0,127}$`)

// CheckUID says what is wrong with a pod's UID.
func CheckUID(uid string) error {
	if !uidShape.MatchString(uid) {
		return fmt.Errorf("%q is no UID: write the pod's metadata.uid", bounded(uid))
	}
	return nil
}

// Identity is who a pod is on its control port: a key that lives in memory
// alone, and a certificate. At first that is one that the pod signed itself; it
// convinces nobody and serves only to ask the operator for another one.
type Identity struct {
	uid        string
	key        *ecdsa.PrivateKey
	roots      Roots
	now        func() time.Time
	selfSigned *tls.Certificate
	signed     atomic.Pointer[signedCertificate]
}

// signedCertificate is one that the operator made, and the same parsed.
type signedCertificate struct {
	certificate *tls.Certificate
	chain       []*x509.Certificate
}

// NewIdentity makes the identity of the pod with this UID. roots are those that
// the pod trusts.
func NewIdentity(uid string, roots Roots) (*Identity, error) {
	if err := CheckUID(uid); err != nil {
		return nil, err
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	i := &Identity{uid: uid, key: key, roots: roots, now: time.Now}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	from := i.now().Add(-time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "memkeep pod, not enrolled"},
		NotBefore: from, NotAfter: from.Add(selfSignedFor),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true, URIs: []*url.URL{PodName(uid)},
	}, &x509.Certificate{Subject: pkix.Name{CommonName: "memkeep pod, not enrolled"}}, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate: %w", err)
	}
	i.selfSigned = &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	return i, nil
}

// UID returns the pod's UID.
func (i *Identity) UID() string { return i.uid }

// Request returns the pod's wish for a certificate.
func (i *Identity) Request() (CertificateRequest, error) {
	template := &x509.CertificateRequest{URIs: []*url.URL{PodName(i.uid)}}
	der, err := x509.CreateCertificateRequest(rand.Reader, template, i.key)
	if err != nil {
		return CertificateRequest{}, fmt.Errorf("make a certificate request: %w", err)
	}
	return CertificateRequest{PEM: string(pem.EncodeToMemory(&pem.Block{Type: blockRequest, Bytes: der}))}, nil
}

// Install takes a certificate for the connections to come. One that this pod
// could not serve with is refused, and the one before stays.
func (i *Identity) Install(c Certificate) error {
	if len(c.PEM) > maxBundle {
		return fmt.Errorf("pem: it is longer than %d bytes", maxBundle)
	}
	chain, err := parseCertificates([]byte(c.PEM), maxCertificates)
	if err != nil {
		return fmt.Errorf("pem: %w", err)
	}
	if !i.key.PublicKey.Equal(chain[0].PublicKey) {
		return errors.New("pem: the certificate is for another key than this pod's")
	}
	if err := i.check(chain); err != nil {
		return fmt.Errorf("pem: %w", err)
	}
	cert := &tls.Certificate{PrivateKey: i.key, Leaf: chain[0]}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	i.signed.Store(&signedCertificate{cert, chain})
	return nil
}

// check tells whether a chain is one that the operator would accept now.
func (i *Identity) check(chain []*x509.Certificate) error {
	roots, err := i.roots()
	if err != nil {
		return err
	}
	return verifyAs(chain, roots, x509.ExtKeyUsageServerAuth, PodName(i.uid), i.now())
}

// NotAfter returns when the certificate in force ends; zero while the pod has
// none but its own.
func (i *Identity) NotAfter() time.Time {
	if c := i.current(); c != i.selfSigned {
		return c.Leaf.NotAfter
	}
	return time.Time{}
}

// current returns the certificate to serve with. One that has ended, or whose
// CA is trusted no more, is as good as none: with its own, the pod asks for
// another.
func (i *Identity) current() *tls.Certificate {
	if c := i.signed.Load(); c != nil && i.check(c.chain) == nil {
		return c.certificate
	}
	return i.selfSigned
}
