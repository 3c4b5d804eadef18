// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/controllers/pki"
	"github.com/memkeep/memkeep/test/process"
)

// startControlled runs a pod whose CA is to come at path.
func startControlled(t *testing.T, path string) *child {
	t.Helper()
	cmd := exec.Command(binary, "fleet", "--memory-bytes=67108864", "--control-ca="+path)
	cmd.Env = []string{"POD_IPS=10.211.0.1,fd21:1::1", "POD_UID=uid-1"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65532, Gid: 65532}}
	return &child{process.MustStart(t, cmd)}
}

// openly returns a path for a CA that the pod's user may read.
func openly(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "memkeep-ca-") //nolint:usetesting // no other user may look into t.TempDir
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "ca.crt")
}

// over returns an HTTP client for one connection that is there.
func over(t *testing.T, conn net.Conn) *http.Client {
	t.Helper()
	there := func(context.Context, string, string) (net.Conn, error) { return conn, nil }
	transport := &http.Transport{ForceAttemptHTTP2: true, DialTLSContext: there}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: 5 * time.Second}
}

// secured connects as the operator, from the thread and so the network of the caller.
func secured(t *testing.T, from, to string, c *tls.Config) *http.Client {
	t.Helper()
	conn := tls.Client(dialFrom(t, from, to), c)
	if err := conn.Handshake(); err != nil {
		t.Fatal(err)
	}
	return over(t, conn)
}

// soon waits until ok holds.
func soon(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within ten seconds: %s", what)
		}
	}
}

func ask(t *testing.T, c *http.Client, method, path, body string, out any) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "https://pod"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if out != nil {
		if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
			t.Fatal(err)
		}
	}
	return resp.StatusCode
}

func TestAFleetServesWithoutItsOperatorAndLetsItInOnceItIsKnown(t *testing.T) {
	authority, err := pki.New(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	operator := &controlapi.Operator{
		Certificate: func() (*tls.Certificate, error) { return authority.OperatorCertificate(time.Now()) },
		Roots:       func() (*x509.CertPool, error) { return authority.Roots(), nil },
	}
	inNamespace(t, func() {
		path := openly(t)
		p := startControlled(t, path)
		conn := dialFrom(t, "10.211.0.2", "10.211.0.1:11211")
		exchange(t, conn, "set k 0 0 1\r\nx\r\nget k\r\n", "STORED\r\nVALUE k 0 1\r\nx\r\nEND\r\n")
		exchange(t, conn, "config get cluster\r\n", "ERROR\r\n")
		if c, err := net.Dial("tcp", "10.211.0.1:11213"); err == nil {
			_ = c.Close()
			t.Fatal("the control port is open though nobody is trusted")
		}
		soon(t, "the log says so", func() bool { return strings.Contains(p.Stderr(), "Control port shut") })
		if err := os.WriteFile(path, []byte(authority.Bundle()), 0o644); err != nil {
			t.Fatal(err)
		}
		for _, ends := range [][2]string{{"10.211.0.2", "10.211.0.1:11213"}, {"fd21:1::2", "[fd21:1::1]:11213"}} {
			c := secured(t, ends[0], ends[1], operator.EnrolmentConfig("uid-1"))
			var s controlapi.State
			if code := ask(t, c, http.MethodGet, controlapi.PathState, "", &s); code != http.StatusOK || s.PodUID != "uid-1" ||
				len(s.Listeners) != 2 || !s.Listeners[0].Accepting || !s.Listeners[1].Accepting || s.MemoryBytes != 64<<20 {
				t.Fatalf("status %d: %+v", code, s)
			}
		}
		for _, to := range []string{"127.0.0.1:11213", "[::1]:11213", "10.211.0.2:11213"} {
			if c, err := net.Dial("tcp", to); err == nil {
				_ = c.Close()
				t.Errorf("it listens on %s", to)
			}
		}
		// A stranger without certificate hears nothing.
		stranger := tls.Client(dialFrom(t, "10.211.0.2", "10.211.0.1:11213"),
			&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"h2"}})
		_ = stranger.Handshake()
		if n, err := stranger.Read(make([]byte, 1)); n > 0 || err == nil {
			t.Fatal("somebody without certificate is answered")
		}
		c := secured(t, "10.211.0.2", "10.211.0.1:11213", operator.EnrolmentConfig("uid-1"))
		members := `{"membership":{"version":3,"nodes":[{"host":"a-0.a.n.svc","address":"10.211.0.1","port":11211}]}}`
		if code := ask(t, c, http.MethodPut, controlapi.PathDesired, members, nil); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
		exchange(t, conn, "config get cluster\r\n", "CONFIG cluster 0 31\r\n3\na-0.a.n.svc|10.211.0.1|11211\n\r\nEND\r\n")

		// Drained, the process stays, with its control port and its health, until the end of the pod.
		if code := ask(t, c, http.MethodPost, controlapi.PathDrain, `{"seconds":5}`, nil); code != http.StatusOK {
			t.Fatalf("status %d", code)
		}
		if _, err := io.ReadAll(conn); err != nil {
			t.Fatal(err)
		}
		soon(t, "it says that it is drained", func() bool {
			var s controlapi.State
			ask(t, c, http.MethodGet, controlapi.PathState, "", &s)
			return s.Draining && !s.Listeners[0].Accepting
		})
		if c, err := net.Dial("tcp", "10.211.0.1:11211"); err == nil {
			_ = c.Close()
			t.Fatal("drained, it accepts")
		}
		p.stop(t, syscall.SIGTERM)
	})
}

func TestAControlPortNeedsThePodsUID(t *testing.T) {
	for _, env := range [][]string{{"POD_IPS=10.211.0.1"}, {"POD_IPS=10.211.0.1", "POD_UID=a/b"}} {
		cmd := exec.Command(binary, "fleet", "--memory-bytes=67108864", "--control-ca=/ca.crt")
		cmd.Env = env
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), "POD_UID") {
			t.Errorf("with %v: %v, %s", env, err, out)
		}
	}
}
