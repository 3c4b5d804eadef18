// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pki is the operator's certificate authority for the control ports of
// pods: what it is, how it is kept in a Secret, when another takes its place,
// and what it signs. Every function is given the time.
package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"
)

// Keys of the Secret that holds an Authority, and of the ConfigMaps that hold
// its public part.
const (
	// KeyBundle holds the CAs' certificates, the oldest first.
	KeyBundle = "ca.crt"
	// KeyKeys holds their private keys in the same order.
	KeyKeys = "ca.key"
)

const (
	// CAValidity is how long a CA lasts.
	CAValidity = 365 * 24 * time.Hour
	// CARenewal is at what age of a CA the next is made.
	CARenewal = 240 * 24 * time.Hour
	// Overlap is how long a new CA is known before it signs: time for every pod
	// to learn of it, and for every replica of the operator.
	Overlap = time.Hour
	// LeafValidity is how long what it signs lasts.
	LeafValidity = 24 * time.Hour
	// LeafRenewal is at what age of a leaf the next is asked for.
	LeafRenewal = 12 * time.Hour
	// Backdate is how much clocks may differ.
	Backdate = time.Hour
)

const (
	maxCAs    = 4
	blockCert = "CERTIFICATE"
	blockKey  = "EC PRIVATE KEY"
)

// Authority is the operator's CA: one, or two and more while one takes the
// place of another. It is never changed, only replaced.
type Authority struct {
	cas []ca // the oldest first
}

type ca struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

// begins returns when a CA was made.
func (c *ca) begins() time.Time { return c.certificate.NotBefore.Add(Backdate) }

// New makes an authority.
func New(now time.Time) (*Authority, error) {
	c, err := newCA(now)
	if err != nil {
		return nil, err
	}
	return &Authority{cas: []ca{c}}, nil
}

func newCA(now time.Time) (ca, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return ca{}, fmt.Errorf("make the CA's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return ca{}, err
	}
	// The name tells CAs apart: a verifier that holds several looks for the
	// issuer by name first.
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "memkeep control " + now.UTC().Format("2006-01-02T15:04:05Z")},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(CAValidity),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return ca{}, fmt.Errorf("make the CA's certificate: %w", err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return ca{}, fmt.Errorf("read the CA's certificate: %w", err)
	}
	return ca{certificate, key}, nil
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return serial, nil
}

// Parse reads an authority from a Secret's data.
func Parse(data map[string][]byte) (*Authority, error) {
	certs, err := blocks(data[KeyBundle], blockCert)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", KeyBundle, err)
	}
	keys, err := blocks(data[KeyKeys], blockKey)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", KeyKeys, err)
	}
	if len(certs) != len(keys) {
		return nil, fmt.Errorf("%s has %d certificates and %s %d keys: there must be as many", KeyBundle, len(certs),
			KeyKeys, len(keys))
	}
	a := &Authority{}
	for i := range certs {
		c, err := parseCA(certs[i], keys[i])
		if err != nil {
			return nil, fmt.Errorf("CA %d of %d: %w", i+1, len(certs), err)
		}
		if i > 0 && c.begins().Before(a.cas[i-1].begins()) {
			return nil, fmt.Errorf("CA %d of %d is older than the one before it", i+1, len(certs))
		}
		a.cas = append(a.cas, c)
	}
	return a, nil
}

// blocks reads PEM that holds blocks of one kind alone.
func blocks(text []byte, kind string) ([][]byte, error) {
	var out [][]byte
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		switch {
		case block == nil && len(bytes.TrimSpace(text)) > 0:
			return nil, errors.New("there is something beside the PEM blocks")
		case block == nil && len(out) == 0:
			return nil, fmt.Errorf("there is no %s", kind)
		case block == nil:
			return out, nil
		case block.Type != kind:
			return nil, fmt.Errorf("a block is not a %s", kind)
		case len(out) == maxCAs:
			return nil, fmt.Errorf("there are more than %d blocks", maxCAs)
		}
		out = append(out, block.Bytes)
	}
}

func parseCA(certificate, key []byte) (ca, error) {
	c, err := x509.ParseCertificate(certificate)
	if err != nil {
		return ca{}, fmt.Errorf("read the certificate: %w", err)
	}
	k, err := x509.ParseECPrivateKey(key)
	if err != nil {
		return ca{}, errors.New("the key is no EC key") // and nothing of it in a message
	}
	switch {
	case k.Curve != elliptic.P256():
		return ca{}, errors.New("the key is not on P-256")
	case !k.PublicKey.Equal(c.PublicKey):
		return ca{}, errors.New("key and certificate do not belong together")
	case !c.IsCA || !c.BasicConstraintsValid || c.KeyUsage&x509.KeyUsageCertSign == 0:
		return ca{}, errors.New("the certificate is no CA's")
	}
	return ca{c, k}, nil
}

// Data returns the authority as a Secret's data.
func (a *Authority) Data() (map[string][]byte, error) {
	var keys bytes.Buffer
	for _, c := range a.cas {
		der, err := x509.MarshalECPrivateKey(c.key)
		if err != nil {
			return nil, fmt.Errorf("write the CA's key: %w", err)
		}
		if err := pem.Encode(&keys, &pem.Block{Type: blockKey, Bytes: der}); err != nil {
			return nil, fmt.Errorf("write the CA's key: %w", err)
		}
	}
	return map[string][]byte{KeyBundle: []byte(a.Bundle()), KeyKeys: keys.Bytes()}, nil
}

// Bundle returns the CAs' certificates, which pods trust.
func (a *Authority) Bundle() string {
	var out bytes.Buffer
	for _, c := range a.cas {
		_ = pem.Encode(&out, &pem.Block{Type: blockCert, Bytes: c.certificate.Raw}) // a buffer takes all
	}
	return out.String()
}

// Roots returns the CAs that the operator trusts.
func (a *Authority) Roots() *x509.CertPool {
	pool := x509.NewCertPool()
	for _, c := range a.cas {
		pool.AddCert(c.certificate)
	}
	return pool
}

// Renewed returns the authority that is to take a's place now: with a further
// CA once the newest is of age, and without those that have ended or whose
// successor has signed for longer than a leaf lasts. It answers false where a
// may stay.
func (a *Authority) Renewed(now time.Time) (*Authority, bool, error) {
	kept := slices.Clone(a.cas)
	for len(kept) > 0 && (!now.Before(kept[0].certificate.NotAfter) || succeeded(kept, now)) {
		kept = kept[1:]
	}
	if len(kept) == 0 || now.Sub(kept[len(kept)-1].begins()) >= CARenewal {
		c, err := newCA(now)
		if err != nil {
			return nil, false, err
		}
		kept = append(kept, c)
	}
	if len(kept) > maxCAs {
		kept = kept[len(kept)-maxCAs:]
	}
	next := &Authority{cas: kept}
	return next, next.Bundle() != a.Bundle(), nil
}

// succeeded tells whether nothing that the first CA signed is in use any more.
func succeeded(cas []ca, now time.Time) bool {
	const margin = time.Hour
	return len(cas) > 1 && now.Sub(cas[1].begins()) >= Overlap+LeafValidity+margin
}

// signer returns the CA that signs now: the newest that everybody knows.
func (a *Authority) signer(now time.Time) (*ca, error) {
	for i := len(a.cas) - 1; i >= 0; i-- {
		c := &a.cas[i]
		if now.Before(c.certificate.NotBefore) || !now.Before(c.certificate.NotAfter) {
			continue
		}
		if i == 0 || now.Sub(c.begins()) >= Overlap {
			return c, nil
		}
		// The one before may have ended before its time was up.
		if older := &a.cas[i-1]; !now.Before(older.certificate.NotAfter) {
			return c, nil
		}
	}
	return nil, errors.New("no CA is valid now: has the clock moved?")
}
