// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

const (
	// maxBundle is the longest CA bundle in bytes, and maxRoots how many
	// certificates it may have.
	maxBundle = 64 << 10
	maxRoots  = 16
	// maxCertificates is how many certificates a pod takes at once: its own and
	// what leads to the CA.
	maxCertificates = 4
)

const (
	blockCertificate = "CERTIFICATE"
	blockRequest     = "CERTIFICATE REQUEST"
)

// Roots returns the CAs that are trusted now. An error means that nobody is.
type Roots func() (*x509.CertPool, error)

// Bundle is the CA bundle in a file. It is read anew whenever it is asked for,
// because whoever mounts it may change it at any time.
type Bundle struct {
	path string

	mu   sync.Mutex
	text []byte
	pool *x509.CertPool
}

// NewBundle returns the bundle in the file at path. There need not be one yet.
func NewBundle(path string) *Bundle {
	return &Bundle{path: path}
}

// Roots returns the CAs in the file. A file that is missing or in any part
// wrong trusts nobody, whatever was in it before.
func (b *Bundle) Roots() (*x509.CertPool, error) {
	text, err := readBounded(b.path, maxBundle)
	if err != nil {
		return nil, fmt.Errorf("read the CA bundle: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.pool != nil && bytes.Equal(text, b.text) {
		return b.pool, nil
	}
	pool, err := ParseRoots(text)
	if err != nil {
		return nil, fmt.Errorf("CA bundle %s: %w", b.path, err)
	}
	b.text, b.pool = text, pool
	return pool, nil
}

func readBounded(path string, most int64) ([]byte, error) {
	f, err := os.Open(path) //nolint:gosec // the path is the pod's own, from its flags
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > most {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, most)
	}
	return text, nil
}

// ParseRoots returns the CAs in a bundle of PEM. Every block must be a CA's
// certificate, and there must be one at least.
func ParseRoots(text []byte) (*x509.CertPool, error) {
	certs, err := parseCertificates(text, maxRoots)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		if !c.IsCA || !c.BasicConstraintsValid {
			return nil, fmt.Errorf("%q is no CA's certificate", c.Subject.CommonName)
		}
		pool.AddCert(c)
	}
	return pool, nil
}

// parseCertificates reads PEM that holds certificates alone, from one to most.
func parseCertificates(text []byte, most int) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		block, text = pem.Decode(text)
		if block == nil {
			break
		}
		if block.Type != blockCertificate {
			return nil, fmt.Errorf("a block is a %q: write %s alone", block.Type, blockCertificate)
		}
		if len(certs) == most {
			return nil, fmt.Errorf("there are more than %d certificates", most)
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("parse certificate %d: %w", len(certs)+1, err)
		}
		certs = append(certs, c)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("there is something beside the PEM blocks")
	}
	if len(certs) == 0 {
		return nil, errors.New("there is no certificate")
	}
	return certs, nil
}
