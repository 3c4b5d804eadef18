// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

var begin = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newAuthority(t *testing.T) *Authority {
	t.Helper()
	a, err := New(begin)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// pod returns the certificate that an authority signs for a pod.
func pod(t *testing.T, a *Authority, now time.Time) *x509.Certificate {
	t.Helper()
	c, err := a.PodCertificate(&newKey(t).PublicKey, "uid", now)
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode([]byte(c.PEM))
	if block == nil || len(rest) > 0 {
		t.Fatalf("no single certificate: %q", c.PEM)
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

func trusted(c *x509.Certificate, a *Authority, now time.Time) bool {
	_, err := c.Verify(x509.VerifyOptions{
		Roots: a.Roots(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	return err == nil
}

func TestAnAuthoritySurvivesItsSecret(t *testing.T) {
	a := newAuthority(t)
	data, err := a.Data()
	if err != nil {
		t.Fatal(err)
	}
	b, err := Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if !trusted(pod(t, b, begin), a, begin) || a.Bundle() != b.Bundle() {
		t.Fatal("it is another authority")
	}
	if strings.Contains(a.Bundle(), "PRIVATE") {
		t.Fatal("the bundle for pods holds a key")
	}
}

func TestASecretThatIsWrongIsRefused(t *testing.T) {
	data := func(t *testing.T, a *Authority) map[string][]byte {
		t.Helper()
		d, err := a.Data()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	a, b := data(t, newAuthority(t)), data(t, newAuthority(t))
	leaf := pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: pod(t, newAuthority(t), begin).Raw})
	other, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalECPrivateKey(other)
	if err != nil {
		t.Fatal(err)
	}
	large := pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: der})
	for name, tt := range map[string]struct {
		crt, key []byte
		reason   string
	}{
		"nothing":                 {nil, nil, "there is no CERTIFICATE"},
		"no key":                  {a[KeyBundle], nil, "there is no EC PRIVATE KEY"},
		"another CA's key":        {a[KeyBundle], b[KeyKeys], "do not belong together"},
		"more CAs than keys":      {append(bytes.Clone(a[KeyBundle]), b[KeyBundle]...), a[KeyKeys], "as many"},
		"a leaf for a CA":         {leaf, a[KeyKeys], "belong together"},
		"garbage":                 {[]byte("x"), []byte("y"), "beside the PEM"},
		"a key among CAs":         {a[KeyKeys], a[KeyKeys], "not a CERTIFICATE"},
		"a key of another kind":   {a[KeyBundle], large, "P-256"},
		"five CAs":                {bytes.Repeat(a[KeyBundle], 5), bytes.Repeat(a[KeyKeys], 5), "more than 4"},
		"a key that is not whole": {a[KeyBundle], pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: []byte{1}}), "no EC key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Parse(map[string][]byte{KeyBundle: tt.crt, KeyKeys: tt.key})
			if err == nil || !strings.Contains(err.Error(), tt.reason) {
				t.Fatalf("the error is %v", err)
			}
		})
	}
}

func TestLeavesAreShortAndForOneUse(t *testing.T) {
	a := newAuthority(t)
	leaf := pod(t, a, begin)
	if leaf.URIs[0].String() != controlapi.PodName("uid").String() || len(leaf.URIs) != 1 || leaf.IsCA ||
		len(leaf.ExtKeyUsage) != 1 || leaf.ExtKeyUsage[0] != x509.ExtKeyUsageServerAuth {
		t.Fatalf("%v %v", leaf.URIs, leaf.ExtKeyUsage)
	}
	if got := leaf.NotAfter.Sub(begin); got != LeafValidity {
		t.Fatalf("it lasts %s", got)
	}
	if got := RenewAt(leaf.NotAfter); !got.Equal(begin.Add(LeafRenewal)) {
		t.Fatalf("it is renewed at %s", got)
	}
	o, err := a.OperatorCertificate(begin)
	if err != nil {
		t.Fatal(err)
	}
	if o.Leaf.URIs[0].String() != controlapi.OperatorName().String() || len(o.Leaf.ExtKeyUsage) != 1 ||
		o.Leaf.ExtKeyUsage[0] != x509.ExtKeyUsageClientAuth {
		t.Fatalf("%v %v", o.Leaf.URIs, o.Leaf.ExtKeyUsage)
	}
	if _, err := a.PodCertificate(&newKey(t).PublicKey, "../operator", begin); err == nil {
		t.Fatal("a path is signed for a UID")
	}
	late := begin.Add(CAValidity - time.Hour)
	if end := pod(t, a, late).NotAfter; end.After(begin.Add(CAValidity)) {
		t.Fatalf("it outlives its CA: %s", end)
	}
}

// TestNobodyIsCutOffByARotation goes through three years in steps: at each, what
// anybody may still hold is trusted by what anybody may still believe.
func TestNobodyIsCutOffByARotation(t *testing.T) {
	const step = 20 * time.Minute
	// lag is how long it takes until everybody has the newest bundle.
	const lag = Overlap - step
	type dated struct {
		at   time.Time
		a    *Authority
		leaf *x509.Certificate
	}
	var leaves, bundles []dated
	recent := func(all []dated, now time.Time, age time.Duration) []dated {
		for len(all) > 0 && now.Sub(all[0].at) > age {
			all = all[1:]
		}
		return all
	}
	a, made := newAuthority(t), 1
	for now := begin; now.Before(begin.Add(3 * CAValidity)); now = now.Add(step) {
		next, changed, err := a.Renewed(now)
		if err != nil {
			t.Fatal(err)
		}
		if changed {
			if next.cas[len(next.cas)-1].certificate != a.cas[len(a.cas)-1].certificate {
				made++
			}
			a = next
		}
		if len(a.cas) > 2 {
			t.Fatalf("at %s there are %d CAs", now, len(a.cas))
		}
		bundles = recent(append(bundles, dated{at: now, a: a}), now, lag)
		// Only round a rotation there is something to look at.
		if len(a.cas) < 2 && now.Sub(a.cas[0].begins()) > 3*LeafValidity {
			leaves = nil
			continue
		}
		leaf := pod(t, a, now)
		if left := leaf.NotAfter.Sub(now); left != LeafValidity {
			t.Fatalf("at %s a leaf lasts %s", now, left)
		}
		leaves = recent(append(leaves, dated{now, a, leaf}), now, LeafValidity)
		for _, old := range bundles {
			if !trusted(leaf, old.a, now) {
				t.Fatalf("at %s a new leaf is not trusted by the bundle of %s", now, old.at)
			}
		}
		for i := 0; i < len(leaves); i += 12 {
			if now.Before(leaves[i].leaf.NotAfter) && !trusted(leaves[i].leaf, a, now) {
				t.Fatalf("at %s a leaf of %s is not trusted", now, leaves[i].at)
			}
		}
	}
	if made < 4 || made > 6 {
		t.Fatalf("%d CAs in three years", made)
	}
}

func TestAnAuthorityThatWasForgottenForLongStartsAnew(t *testing.T) {
	a := newAuthority(t)
	now := begin.Add(2 * CAValidity)
	if _, err := a.OperatorCertificate(now); err == nil {
		t.Fatal("a CA that has ended signs")
	}
	b, changed, err := a.Renewed(now)
	if err != nil || !changed || len(b.cas) != 1 {
		t.Fatal(changed, err)
	}
	if !trusted(pod(t, b, now), b, now) {
		t.Fatal("the new one does not sign at once, though there is no other")
	}
	if _, err := a.OperatorCertificate(begin.Add(-2 * Backdate)); err == nil {
		t.Fatal("a CA signs before it was made")
	}
	again, changed, err := b.Renewed(now.Add(time.Hour))
	if err != nil || changed {
		t.Fatal("a young authority is renewed", err)
	}
	if again.Bundle() != b.Bundle() {
		t.Fatal("it is another one")
	}
}

func FuzzParse(f *testing.F) {
	a, err := New(begin)
	if err != nil {
		f.Fatal(err)
	}
	data, err := a.Data()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data[KeyBundle], data[KeyKeys])
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----"),
		[]byte("-----BEGIN EC PRIVATE KEY-----\n-----END EC PRIVATE KEY-----"))
	f.Fuzz(func(t *testing.T, crt, key []byte) {
		a, err := Parse(map[string][]byte{KeyBundle: crt, KeyKeys: key})
		if err != nil {
			return
		}
		data, err := a.Data()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := Parse(data); err != nil || b.Bundle() != a.Bundle() {
			t.Fatalf("it does not come back: %v", err)
		}
	})
}
