// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

const podUID = "7c0b3a52-5b1e-4e43-9d62-1f6f8a3c2d11"

// served is a pod's control port on loopback that says "inside".
type served struct {
	*Identity
	address string
	refusal lastLine
}

// lastLine keeps what was logged last.
type lastLine struct{ atomic.Value }

func (l *lastLine) Write(line []byte) (int, error) {
	l.Store(string(line))
	return len(line), nil
}

func serveTLS(t *testing.T, i *Identity) *served {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	out := &served{Identity: i, address: l.Addr().String()}
	var protocols http.Protocols
	protocols.SetHTTP2(true)
	s := &http.Server{
		Handler:   http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "inside") }),
		TLSConfig: i.ServerConfig(), Protocols: &protocols, ReadHeaderTimeout: 5 * time.Second,
		ErrorLog: log.New(&out.refusal, "", 0),
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.ServeTLS(l, "", "")
	}()
	t.Cleanup(func() {
		_ = s.Close()
		<-done
	})
	return out
}

// get asks with a client's configuration and returns what is said inside.
func (s *served) get(t *testing.T, c *tls.Config) (string, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: 5 * time.Second}
	resp, err := client.Get("https://" + s.address + "/")
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return string(body), err
}

func (s *served) mustAnswer(t *testing.T, c *tls.Config) {
	t.Helper()
	if body, err := s.get(t, c); err != nil || body != "inside" {
		t.Fatalf("it answers %q, %v", body, err)
	}
}

// mustRefuse fails unless the server breaks the connection before anything is
// said, for the reason that is expected.
func (s *served) mustRefuse(t *testing.T, c *tls.Config, reason string) {
	t.Helper()
	s.refusal.Store("")
	if body, err := s.get(t, c); err == nil {
		t.Fatalf("it answers %q", body)
	}
	s.mustSay(t, reason)
}

// mustSay waits for the server to log why it refused.
func (s *served) mustSay(t *testing.T, reason string) {
	t.Helper()
	deadline := time.Now().Add(5 * time.Second)
	for {
		line, _ := s.refusal.Load().(string)
		if line != "" && strings.Contains(line, reason) {
			return
		}
		if line != "" || time.Now().After(deadline) {
			t.Fatalf("it refused for another reason than %q: %q", reason, line)
		}
		time.Sleep(time.Millisecond)
	}
}

// enrolled returns a pod that the authority has enrolled, serving.
func enrolled(t *testing.T, a *authority) *served {
	t.Helper()
	i := newIdentity(t, podUID, NewBundle(write(t, a.pem())).Roots)
	if err := a.enrol(i); err != nil {
		t.Fatal(err)
	}
	return serveTLS(t, i)
}

func TestOnlyTheOperatorGetsIn(t *testing.T) {
	a := newAuthority(t)
	s := enrolled(t, a)
	s.mustAnswer(t, a.operator().ClientConfig(podUID))
	const client, server, anything = x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageAny
	stranger := newAuthority(t)
	host := func(c *x509.Certificate) { c.DNSNames = []string{"operator.example"} }
	both := func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{client, server} }
	tests := map[string]struct {
		certificate *tls.Certificate
		reason      string
	}{
		"a pod's certificate":                       {a.client(PodName(podUID), server), "another name"},
		"a pod's certificate with the client usage": {a.client(PodName(podUID), client), "another name"},
		"the operator's name with the server usage": {a.client(OperatorName(), server), "another usage"},
		"the operator's name with any usage":        {a.client(OperatorName(), anything), "another usage"},
		"the operator's name without a usage":       {a.client(OperatorName(), client, func(c *x509.Certificate) { c.ExtKeyUsage = nil }), "another usage"},
		"the operator's name with both usages":      {a.client(OperatorName(), client, both), "another usage"},
		"a second name beside the operator's":       {a.client(OperatorName(), client, func(c *x509.Certificate) { c.URIs = append(c.URIs, PodName(podUID)) }), "another name"},
		"a host name beside the operator's":         {a.client(OperatorName(), client, host), "another name"},
		"no name at all":                            {a.client(OperatorName(), client, func(c *x509.Certificate) { c.URIs = nil }), "another name"},
		"a name that begins like the operator's":    {a.client(&url.URL{Scheme: scheme, Host: authorityName, Path: "/operator/x"}, client), "another name"},
		"a name in capitals":                        {a.client(&url.URL{Scheme: scheme, Host: authorityName, Path: "/Operator"}, client), "another name"},
		"a certificate that has ended":              {a.client(OperatorName(), client, func(c *x509.Certificate) { c.NotAfter = time.Now().Add(-time.Second) }), "expired"},
		"a certificate that has not begun":          {a.client(OperatorName(), client, func(c *x509.Certificate) { c.NotBefore = time.Now().Add(30 * time.Second) }), "not yet valid"},
		"another CA of the same name":               {stranger.client(OperatorName(), client), "unknown authority"},
		"a certificate that signs others":           {a.client(OperatorName(), client, func(c *x509.Certificate) { c.IsCA, c.BasicConstraintsValid = true, true }), "a CA's"},
		"the CA's own certificate":                  {&tls.Certificate{Certificate: [][]byte{a.cert.Raw}, PrivateKey: a.key}, "another name"},
		"one that was signed with a pod's key":      {forged(t, a), "unknown authority"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s.mustRefuse(t, a.operatorWith(tt.certificate).ClientConfig(podUID), tt.reason)
		})
	}
	t.Run("no certificate", func(t *testing.T) {
		c := a.operator().ClientConfig(podUID)
		none := &tls.Certificate{}
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return none, nil }
		s.mustRefuse(t, c, "client didn't provide a certificate")
	})
	t.Run("the operator without the key of its certificate", func(t *testing.T) {
		stolen := a.client(OperatorName(), client)
		stolen.PrivateKey = newKey(t)
		s.mustRefuse(t, a.operatorWith(stolen).ClientConfig(podUID), "invalid signature")
	})
	t.Run("TLS 1.2", func(t *testing.T) {
		c := a.operator().ClientConfig(podUID)
		c.MinVersion, c.MaxVersion = tls.VersionTLS12, tls.VersionTLS12
		s.mustRefuse(t, c, "only unsupported versions")
	})
	for name, protocols := range map[string][]string{
		"HTTP/1.1 inside TLS": {"http/1.1"}, "no protocol named inside TLS": nil,
	} {
		t.Run(name, func(t *testing.T) {
			c := a.operator().ClientConfig(podUID)
			c.NextProtos, c.VerifyConnection = protocols, nil
			s.refusal.Store("")
			if conn, err := tls.Dial("tcp", s.address, c); err == nil {
				defer conn.Close()
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				if answer, _ := io.ReadAll(conn); len(answer) > 0 {
					t.Fatalf("it answers %q", answer)
				}
			}
			s.mustSay(t, "HTTP/2 over TLS 1.3 alone")
		})
	}
	t.Run("plain HTTP", func(t *testing.T) {
		conn, err := net.Dial("tcp", s.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
		_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		answer, err := io.ReadAll(conn)
		if err != nil || strings.Contains(string(answer), "inside") {
			t.Fatalf("it answers %q, %v", answer, err)
		}
	})
	s.mustAnswer(t, a.operator().ClientConfig(podUID))
}

// forged returns a client's certificate that is signed with a pod's key.
func forged(t *testing.T, a *authority) *tls.Certificate {
	t.Helper()
	pod := a.client(PodName(podUID), x509.ExtKeyUsageServerAuth)
	leaf, err := x509.ParseCertificate(pod.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	middle := &authority{t: t, key: pod.PrivateKey.(*ecdsa.PrivateKey), cert: leaf}
	c := middle.client(OperatorName(), x509.ExtKeyUsageClientAuth)
	c.Certificate = append(c.Certificate, pod.Certificate[0])
	return c
}

func TestOnlyThePodThatIsMeantIsTalkedTo(t *testing.T) {
	a := newAuthority(t)
	s := enrolled(t, a)
	o := a.operator()
	t.Run("another UID", func(t *testing.T) {
		_, err := s.get(t, o.ClientConfig("other"))
		if !errors.Is(err, ErrOtherPod) {
			t.Fatal(err)
		}
	})
	t.Run("a pod that is not enrolled", func(t *testing.T) {
		fresh := serveTLS(t, newIdentity(t, podUID, fixed(a.pem())))
		if _, err := fresh.get(t, o.ClientConfig(podUID)); !errors.Is(err, ErrNotEnrolled) {
			t.Fatal(err)
		}
	})
	t.Run("a pod of another operator", func(t *testing.T) {
		other := newAuthority(t)
		foreign := newIdentity(t, podUID, fixed(a.pem()+other.pem()))
		if err := other.enrol(foreign); err != nil {
			t.Fatal(err)
		}
		if _, err := serveTLS(t, foreign).get(t, o.ClientConfig(podUID)); !errors.Is(err, ErrNotEnrolled) {
			t.Fatal(err)
		}
	})
	t.Run("the operator's certificate served as a pod's", func(t *testing.T) {
		i := newIdentity(t, podUID, fixed(a.pem()))
		for _, c := range []*tls.Certificate{
			a.client(OperatorName(), x509.ExtKeyUsageClientAuth), a.client(PodName(podUID), x509.ExtKeyUsageClientAuth),
		} {
			i.selfSigned = c
			if body, err := serveTLS(t, i).get(t, o.ClientConfig(podUID)); err == nil {
				t.Fatalf("it answers %q", body)
			}
		}
	})
	t.Run("a pod whose certificate has ended", func(t *testing.T) {
		late := *o
		late.Now = func() time.Time { return time.Now().Add(2 * time.Minute) }
		if _, err := s.get(t, late.ClientConfig(podUID)); !errors.Is(err, ErrNotEnrolled) {
			t.Fatal(err)
		}
	})
	t.Run("a server of TLS 1.2", func(t *testing.T) {
		i := newIdentity(t, podUID, fixed(a.pem()))
		l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
			Certificates: []tls.Certificate{*i.selfSigned}, MaxVersion: tls.VersionTLS12,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go func() {
			if c, err := l.Accept(); err == nil {
				_ = c.(*tls.Conn).Handshake()
				_ = c.Close()
			}
		}()
		old := &served{Identity: i, address: l.Addr().String()}
		if _, err := old.get(t, o.EnrolmentConfig(podUID)); err == nil || !strings.Contains(err.Error(), "protocol version") {
			t.Fatal(err)
		}
	})
}

func TestEnrolment(t *testing.T) {
	a := newAuthority(t)
	path := write(t, a.pem())
	i := newIdentity(t, podUID, NewBundle(path).Roots)
	s := serveTLS(t, i)
	o := a.operator()
	s.mustAnswer(t, o.EnrolmentConfig(podUID))
	if _, err := s.get(t, o.EnrolmentConfig("other")); !errors.Is(err, ErrOtherPod) {
		t.Fatalf("another pod's UID: %v", err)
	}
	if !i.NotAfter().IsZero() {
		t.Fatal("it has a certificate before it was enrolled")
	}
	if err := a.enrol(i); err != nil {
		t.Fatal(err)
	}
	s.mustAnswer(t, o.ClientConfig(podUID))
	if left := time.Until(i.NotAfter()); left <= 0 || left > time.Minute {
		t.Fatalf("its certificate ends in %s", left)
	}

	t.Run("the clock passes the certificate's end", func(t *testing.T) {
		j := newIdentity(t, podUID, fixed(a.pem()))
		if err := a.enrol(j); err != nil {
			t.Fatal(err)
		}
		if j.current() == j.selfSigned {
			t.Fatal("the certificate is not in force")
		}
		j.now = func() time.Time { return time.Now().Add(2 * time.Minute) }
		if j.current() != j.selfSigned || !j.NotAfter().IsZero() {
			t.Fatal("a certificate that has ended is in force")
		}
	})

	// The operator has lost its CA and made another: pods that learn of it take
	// themselves for not enrolled, and let the operator in.
	next := newAuthority(t)
	if err := os.WriteFile(path, []byte(next.pem()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mustRefuse(t, o.EnrolmentConfig(podUID), "unknown authority")
	p := next.operator()
	if _, err := s.get(t, p.ClientConfig(podUID)); !errors.Is(err, ErrNotEnrolled) {
		t.Fatal(err)
	}
	s.mustAnswer(t, p.EnrolmentConfig(podUID))
	if err := next.enrol(i); err != nil {
		t.Fatal(err)
	}
	s.mustAnswer(t, p.ClientConfig(podUID))

	for name, text := range map[string]string{"gone": "", "garbage": "no PEM", "in part wrong": next.pem() + "x"} {
		t.Run("nobody gets in while the CA bundle is "+name, func(t *testing.T) {
			if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			if text == "" {
				if err := os.Remove(path); err != nil {
					t.Fatal(err)
				}
			}
			s.mustRefuse(t, p.EnrolmentConfig(podUID), "CA bundle")
		})
	}
	if err := os.WriteFile(path, []byte(next.pem()), 0o600); err != nil {
		t.Fatal(err)
	}
	s.mustAnswer(t, p.ClientConfig(podUID))
}
