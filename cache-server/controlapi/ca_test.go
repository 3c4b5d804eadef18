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
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// authority signs what a test asks for, right or wrong.
type authority struct {
	t    *testing.T
	key  *ecdsa.PrivateKey
	cert *x509.Certificate
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{t: t, key: newKey(t)}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, a.key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return a
}

func (a *authority) pem() string { return toPEM(a.cert.Raw) }

func toPEM(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: blockCertificate, Bytes: der}))
}

// sign makes a certificate for name and usage, with what else a test changes.
func (a *authority) sign(
	key any, name *url.URL, usage x509.ExtKeyUsage, change ...func(*x509.Certificate),
) []byte {
	a.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Minute),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage}, URIs: []*url.URL{name},
	}
	for _, f := range change {
		f(template)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}

// client returns a key and a certificate for a client.
func (a *authority) client(name *url.URL, usage x509.ExtKeyUsage, change ...func(*x509.Certificate)) *tls.Certificate {
	a.t.Helper()
	key := newKey(a.t)
	return &tls.Certificate{Certificate: [][]byte{a.sign(key.Public(), name, usage, change...)}, PrivateKey: key}
}

// operator returns the operator as the authority made it.
func (a *authority) operator() *Operator {
	a.t.Helper()
	return a.operatorWith(a.client(OperatorName(), x509.ExtKeyUsageClientAuth))
}

func (a *authority) operatorWith(c *tls.Certificate) *Operator {
	return &Operator{Certificate: func() (*tls.Certificate, error) { return c, nil }, Roots: fixed(a.pem())}
}

func fixed(text string) Roots {
	return func() (*x509.CertPool, error) { return ParseRoots([]byte(text)) }
}

// enrol gives a pod the certificate that it asks for.
func (a *authority) enrol(i *Identity, change ...func(*x509.Certificate)) error {
	a.t.Helper()
	der := a.sign(i.key.Public(), PodName(i.uid), x509.ExtKeyUsageServerAuth, change...)
	return i.Install(Certificate{PEM: toPEM(der)})
}

func write(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func newIdentity(t *testing.T, uid string, roots Roots) *Identity {
	t.Helper()
	i, err := NewIdentity(uid, roots)
	if err != nil {
		t.Fatal(err)
	}
	return i
}
