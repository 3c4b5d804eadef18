// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strings"
	"testing"
	"time"
)

func TestAPodRefusesACertificateThatItCannotServeWith(t *testing.T) {
	a := newAuthority(t)
	i := newIdentity(t, podUID, fixed(a.pem()))
	if err := a.enrol(i); err != nil {
		t.Fatal(err)
	}
	before := i.current()
	sign := func(key any, name *url.URL, usage x509.ExtKeyUsage, change ...func(*x509.Certificate)) string {
		return toPEM(a.sign(key, name, usage, change...))
	}
	const client, server = x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth
	tests := map[string]struct{ pem, reason string }{
		"for another key":           {sign(newKey(t).Public(), PodName(podUID), server), "another key"},
		"for another pod":           {sign(i.key.Public(), PodName("other"), server), "names"},
		"for the operator":          {sign(i.key.Public(), OperatorName(), server), "names"},
		"for a client":              {sign(i.key.Public(), PodName(podUID), client), "another usage"},
		"for both usages":           {sign(i.key.Public(), PodName(podUID), server, func(c *x509.Certificate) { c.ExtKeyUsage = append(c.ExtKeyUsage, client) }), "another usage"},
		"that has ended":            {sign(i.key.Public(), PodName(podUID), server, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), "expired"},
		"of another CA":             {toPEM(newAuthority(t).sign(i.key.Public(), PodName(podUID), server)), "unknown authority"},
		"that signs others":         {sign(i.key.Public(), PodName(podUID), server, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "a CA's"},
		"that is none":              {"", "there is no certificate"},
		"that is a key":             {string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})), "CERTIFICATE alone"},
		"that is garbage":           {toPEM([]byte("x")), "parse certificate 1"},
		"with text after it":        {sign(i.key.Public(), PodName(podUID), server) + "x", "beside the PEM"},
		"with a chain without end":  {strings.Repeat(a.pem(), maxCertificates+1), "more than"},
		"that is larger than a box": {strings.Repeat("x", maxBundle+1), "longer than"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			err := i.Install(Certificate{PEM: tt.pem})
			if err == nil || !strings.Contains(err.Error(), tt.reason) || !strings.HasPrefix(err.Error(), "pem: ") {
				t.Fatalf("the error is %v, not one of %q", err, tt.reason)
			}
			if i.current() != before {
				t.Fatal("it took the certificate's place")
			}
		})
	}
}

func TestARequestIsForTheConnectionsKey(t *testing.T) {
	a := newAuthority(t)
	i := newIdentity(t, podUID, fixed(a.pem()))
	peer := func(i *Identity) *x509.Certificate {
		c, err := x509.ParseCertificate(i.selfSigned.Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	good, err := i.Request()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ParseRequest(good, peer(i), podUID)
	if err != nil || !key.Equal(i.key.Public()) {
		t.Fatalf("the pod's request: %v", err)
	}
	request := func(template x509.CertificateRequest, key any) string {
		der, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
		if err != nil {
			t.Fatal(err)
		}
		return string(pem.EncodeToMemory(&pem.Block{Type: blockRequest, Bytes: der}))
	}
	large, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	broken, _ := pem.Decode([]byte(good.PEM))
	broken.Bytes[len(broken.Bytes)-1] ^= 1
	name := []*url.URL{PodName(podUID)}
	tests := map[string]string{
		"another key":           request(x509.CertificateRequest{URIs: name}, newKey(t)),
		"a key of another kind": request(x509.CertificateRequest{URIs: name}, large),
		"another pod's name":    request(x509.CertificateRequest{URIs: []*url.URL{PodName("other")}}, i.key),
		"the operator's name":   request(x509.CertificateRequest{URIs: []*url.URL{OperatorName()}}, i.key),
		"a second name":         request(x509.CertificateRequest{URIs: append(name, OperatorName())}, i.key),
		"a host name":           request(x509.CertificateRequest{URIs: name, DNSNames: []string{"x"}}, i.key),
		"no name":               request(x509.CertificateRequest{}, i.key),
		"a broken signature":    string(pem.EncodeToMemory(broken)),
		"two requests":          good.PEM + good.PEM,
		"nothing":               "",
		"a certificate":         a.pem(),
	}
	for name, text := range tests {
		t.Run(name, func(t *testing.T) {
			if _, err := ParseRequest(CertificateRequest{PEM: text}, peer(i), podUID); err == nil {
				t.Fatal("it is taken")
			}
		})
	}
	if _, err := ParseRequest(good, peer(newIdentity(t, podUID, fixed(a.pem()))), podUID); err == nil {
		t.Fatal("a request is taken over the connection of another key")
	}
	if _, err := ParseRequest(good, nil, podUID); err == nil {
		t.Fatal("a request is taken over no connection")
	}
}

func TestABundleIsCAsAlone(t *testing.T) {
	a, b := newAuthority(t), newAuthority(t)
	leaf := toPEM(a.sign(newKey(t).Public(), OperatorName(), x509.ExtKeyUsageClientAuth))
	for name, tt := range map[string]struct {
		text string
		ok   bool
	}{
		"one CA":                    {a.pem(), true},
		"two CAs":                   {a.pem() + b.pem(), true},
		"nothing":                   {"", false},
		"a leaf":                    {leaf, false},
		"a leaf beside a CA":        {a.pem() + leaf, false},
		"more CAs than anybody has": {strings.Repeat(a.pem(), maxRoots+1), false},
		"text before the PEM":       {"hello\n" + a.pem(), true}, // as PEM allows
		"text after the PEM":        {a.pem() + "hello", false},
		"a file without end":        {a.pem() + strings.Repeat("\n", maxBundle), false},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := NewBundle(write(t, tt.text)).Roots(); (err == nil) != tt.ok {
				t.Fatalf("the error is %v", err)
			}
		})
	}
	for _, uid := range []string{"", "/", "a/b", strings.Repeat("a", 129), "a b", "a\n", "..%2f"} {
		if _, err := NewIdentity(uid, fixed(a.pem())); err == nil {
			t.Errorf("the UID %q is taken", uid)
		}
	}
}
