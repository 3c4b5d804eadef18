// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"reflect"
	"testing"
)

// FuzzDecode feeds every kind of message. What is taken must come out again as
// it went in.
func FuzzDecode(f *testing.F) {
	kinds := []any{
		Certificate{}, CertificateRequest{}, Desired{}, State{}, Connections{}, Statistics{}, Drain{}, Dial{}, Dialled{},
		Problem{},
	}
	for i := range kinds {
		f.Add(uint8(i), []byte(`{}`))
	}
	f.Add(uint8(2), []byte(`{"gate":{"open":true},"peers":{"verified":true,"revision":1,"addresses":["10.0.0.1"]}}`))
	f.Add(uint8(2), []byte(`{"membership":{"version":2,"nodes":[{"host":"a","address":"::1","port":11211}]},"x":null}`))
	f.Add(uint8(7), []byte(`{"targets":[{"network":"tcp","address":"10.0.0.1:1","nonce":"n","timeoutMillis":5}]}`))
	f.Fuzz(func(t *testing.T, kind uint8, text []byte) {
		shape := reflect.TypeOf(kinds[int(kind)%len(kinds)])
		in := reflect.New(shape)
		if Decode(bytes.NewReader(text), in.Interface()) != nil {
			return
		}
		again, err := json.Marshal(in.Interface())
		if err != nil {
			t.Fatal(err)
		}
		out := reflect.New(shape)
		if err := Decode(bytes.NewReader(again), out.Interface()); err != nil {
			t.Fatal(err)
		}
		if twice, err := json.Marshal(out.Interface()); err != nil || !bytes.Equal(again, twice) {
			t.Fatalf("%s became %s, %v", again, twice, err)
		}
	})
}

// FuzzCertificates feeds whatever a pod or a file may hold: nothing but a
// certificate of our CA for our key is taken.
func FuzzCertificates(f *testing.F) {
	i, err := NewIdentity(podUID, func() (*x509.CertPool, error) { return x509.NewCertPool(), nil })
	if err != nil {
		f.Fatal(err)
	}
	request, err := i.Request()
	if err != nil {
		f.Fatal(err)
	}
	self, err := x509.ParseCertificate(i.selfSigned.Certificate[0])
	if err != nil {
		f.Fatal(err)
	}
	f.Add(toPEM(i.selfSigned.Certificate[0]))
	f.Add(request.PEM)
	f.Add("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n")
	f.Fuzz(func(t *testing.T, text string) {
		if i.Install(Certificate{PEM: text}) == nil {
			t.Fatal("a certificate of no CA was installed")
		}
		if _, err := ParseRoots([]byte(text)); err == nil && text == toPEM(self.Raw) {
			t.Fatal("a leaf is a root")
		}
		if key, err := ParseRequest(CertificateRequest{PEM: text}, self, podUID); err == nil && !key.Equal(i.key.Public()) {
			t.Fatal("a request for another key was taken")
		}
	})
}
