// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/url"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// PodCertificate signs a pod's key for the pod's own name, as a server.
func (a *Authority) PodCertificate(key *ecdsa.PublicKey, uid string, now time.Time) (controlapi.Certificate, error) {
	if err := controlapi.CheckUID(uid); err != nil {
		return controlapi.Certificate{}, err //nolint:wrapcheck // it says what is wrong
	}
	leaf, err := a.sign(key, controlapi.PodName(uid), x509.ExtKeyUsageServerAuth, now)
	if err != nil {
		return controlapi.Certificate{}, err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: leaf.Raw})
	return controlapi.Certificate{PEM: string(text)}, nil
}

// OperatorCertificate makes a key and a certificate with which the operator
// dials pods. Both stay in memory.
func (a *Authority) OperatorCertificate(now time.Time) (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	leaf, err := a.sign(&key.PublicKey, controlapi.OperatorName(), x509.ExtKeyUsageClientAuth, now)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, nil
}

// sign makes a certificate for one key, one name and one usage.
func (a *Authority) sign(
	key *ecdsa.PublicKey, name *url.URL, usage x509.ExtKeyUsage, now time.Time,
) (*x509.Certificate, error) {
	signer, err := a.signer(now)
	if err != nil {
		return nil, err
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	end := now.Add(LeafValidity)
	if last := signer.certificate.NotAfter; end.After(last) {
		end = last
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{
		SerialNumber: serial, NotBefore: now.Add(-Backdate), NotAfter: end,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{usage},
		BasicConstraintsValid: true, URIs: []*url.URL{name},
	}, signer.certificate, key, signer.key)
	if err != nil {
		return nil, fmt.Errorf("sign a certificate for %s: %w", name, err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate for %s: %w", name, err)
	}
	return leaf, nil
}

// RenewAt returns when a certificate is to be renewed: when the half of what it
// had left, at the time it was made, is over.
func RenewAt(notAfter time.Time) time.Time {
	return notAfter.Add(LeafRenewal - LeafValidity)
}
