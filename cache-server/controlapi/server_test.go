// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// port is a pod's control port on loopback.
type port struct {
	*Server
	t       *testing.T
	address string
	log     *lastLine
}

func openPort(t *testing.T, cfg ServerConfig, change ...func(*Server)) *port {
	t.Helper()
	p := &port{t: t, log: new(lastLine)}
	cfg.Logger = slog.New(slog.NewTextHandler(p.log, &slog.HandlerOptions{Level: slog.LevelInfo}))
	p.Server = NewServer(cfg)
	for _, f := range change {
		f(p.Server)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p.address = l.Addr().String()
	done := make(chan error, 1)
	go func() { done <- p.Serve(l) }()
	t.Cleanup(func() {
		p.Close()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	})
	return p
}

// caller returns a client with one connection of its own.
func (p *port) caller(c *tls.Config) *http.Client {
	p.t.Helper()
	transport := &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// call sends a request and returns the status and the answer.
func (p *port) call(c *http.Client, method, path, body string) (int, string) {
	p.t.Helper()
	status, answer, err := p.try(c, method, path, body)
	if err != nil {
		p.t.Fatal(err)
	}
	return status, answer
}

func (p *port) try(c *http.Client, method, path, body string) (int, string, error) {
	ctx, cancel := context.WithTimeout(p.t.Context(), 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, "https://"+p.address+path, strings.NewReader(body))
	if err != nil {
		return 0, "", err
	}
	resp, err := c.Do(req)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(text), err
}

// follow watches and returns a function that returns the next state.
func (p *port) follow(c *http.Client) func() (State, error) {
	p.t.Helper()
	req, err := http.NewRequestWithContext(p.t.Context(), http.MethodGet, "https://"+p.address+PathWatch, nil)
	if err != nil {
		p.t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { _ = resp.Body.Close() })
	lines := bufio.NewScanner(resp.Body)
	return func() (State, error) {
		var s State
		end := time.AfterFunc(5*time.Second, func() { _ = resp.Body.Close() })
		defer end.Stop()
		if !lines.Scan() {
			return s, io.EOF
		}
		return s, json.Unmarshal(lines.Bytes(), &s)
	}
}

func TestAPodIsEnrolledOverItsControlPort(t *testing.T) {
	a := newAuthority(t)
	i := newIdentity(t, podUID, fixed(a.pem()))
	p := openPort(t, ServerConfig{Identity: i, Build: "v1"})
	o := a.operator()
	c := p.caller(o.EnrolmentConfig(podUID))
	next := p.follow(c)
	before, err := next()
	if err != nil || before.CertificateNotAfter != 0 || before.PodUID != podUID || before.Build != "v1" ||
		before.Boot == "" || before.Versions != [2]int{Version, Version} {
		t.Fatalf("%+v, %v", before, err)
	}
	status, body := p.call(c, http.MethodGet, PathRequest, "")
	var request CertificateRequest
	if err := json.Unmarshal([]byte(body), &request); err != nil || status != http.StatusOK {
		t.Fatal(status, err)
	}
	conn, err := tls.Dial("tcp", p.address, o.EnrolmentConfig(podUID))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	key, err := ParseRequest(request, conn.ConnectionState().PeerCertificates[0], podUID)
	if err != nil {
		t.Fatal(err)
	}
	message := func(c Certificate) string {
		data, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	bad := Certificate{PEM: toPEM(a.sign(key, PodName("other"), 1))}
	if status, body := p.call(c, http.MethodPut, PathCertificate, message(bad)); status != http.StatusUnprocessableEntity {
		t.Fatal(status, body)
	}
	good := Certificate{PEM: toPEM(a.sign(key, PodName(podUID), 1))}
	if status, body := p.call(c, http.MethodPut, PathCertificate, message(good)); status != http.StatusOK ||
		!strings.Contains(body, `"certificateNotAfter":1`) {
		t.Fatal(status, body)
	}
	after, err := next()
	if err != nil || after.CertificateNotAfter == 0 || after.Boot != before.Boot {
		t.Fatalf("the watcher hears %+v, %v", after, err)
	}
	if status, body := p.call(p.caller(o.ClientConfig(podUID)), http.MethodGet, PathState, ""); status != http.StatusOK {
		t.Fatal(status, body)
	}
}

func TestBadMessagesAreRefused(t *testing.T) {
	a := newAuthority(t)
	i := newIdentity(t, podUID, fixed(a.pem()))
	type message struct {
		Number int `json:"number"`
	}
	p := openPort(t, ServerConfig{Identity: i}, func(s *Server) {
		s.Handle("POST /v1/test", Take(64, func(_ context.Context, m *message) (message, error) {
			if m.Number < 0 {
				return *m, AsRefused(context.Canceled)
			}
			return *m, nil
		}))
	})
	c := p.caller(a.operator().EnrolmentConfig(podUID))
	for name, tt := range map[string]struct {
		method, path, body string
		status             int
	}{
		"a good message":              {"POST", "/v1/test", `{"number":1}`, 200},
		"a field of another release":  {"POST", "/v1/test", `{"number":1,"more":[2]}`, 200},
		"nothing":                     {"POST", "/v1/test", ``, 400},
		"no JSON":                     {"POST", "/v1/test", `number=1`, 400},
		"JSON of another kind":        {"POST", "/v1/test", `{"number":"x"}`, 400},
		"two messages":                {"POST", "/v1/test", `{"number":1}{}`, 400},
		"a message that is cut off":   {"POST", "/v1/test", `{"number":1`, 400},
		"a message that is too long":  {"POST", "/v1/test", `{"number":` + strings.Repeat(" ", 64) + `1}`, 413},
		"a long tail":                 {"POST", "/v1/test", `{"number":1}` + strings.Repeat(" ", 64), 413},
		"what a pod does not do":      {"POST", "/v1/test", `{"number":-1}`, 409},
		"another method":              {"GET", "/v1/test", ``, 405},
		"another path":                {"GET", "/v2/test", ``, 404},
		"a path above":                {"GET", "/../etc/passwd", ``, 404},
		"a certificate without end":   {"PUT", PathCertificate, `{"pem":"` + strings.Repeat("x", maxBundle) + `"}`, 413},
		"a state that cannot be told": {"POST", PathState, `{}`, 405},
	} {
		t.Run(name, func(t *testing.T) {
			status, body := p.call(c, tt.method, tt.path, tt.body)
			if status == http.StatusTemporaryRedirect && tt.status == 404 { // ServeMux cleans paths
				return
			}
			if status != tt.status {
				t.Fatalf("status %d: %s", status, body)
			}
		})
	}
}

func TestStrangersCannotCrowdOutTheOperator(t *testing.T) {
	a := newAuthority(t)
	i := newIdentity(t, podUID, fixed(a.pem()))
	p := openPort(t, ServerConfig{Identity: i})
	var strangers []net.Conn
	for range 4 * maxStrangers {
		conn, err := net.Dial("tcp", p.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		strangers = append(strangers, conn)
	}
	if status, _ := p.call(p.caller(a.operator().EnrolmentConfig(podUID)), http.MethodGet, PathState, ""); status != 200 {
		t.Fatal(status)
	}
	// The oldest had to go; the newest are there.
	_ = strangers[0].SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := strangers[0].Read(make([]byte, 1)); err == nil || os.IsTimeout(err) {
		t.Fatalf("the oldest stranger is still there: %v", err)
	}
	last := strangers[len(strangers)-1]
	_ = last.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if _, err := last.Read(make([]byte, 1)); !os.IsTimeout(err) {
		t.Fatalf("the newest stranger is gone: %v", err)
	}
	if p.Refused() < 3*maxStrangers || !strings.Contains(p.log.Load().(string), "Control connection refused") {
		t.Fatalf("refused: %d; log: %s", p.Refused(), p.log.Load())
	}
}

func TestAnOperatorWithoutEndHasToConnectAnew(t *testing.T) {
	a := newAuthority(t)
	i := newIdentity(t, podUID, fixed(a.pem()))
	p := openPort(t, ServerConfig{Identity: i})
	var first func() (State, error)
	for n := range 2 * maxGuests {
		next := p.follow(p.caller(a.operator().EnrolmentConfig(podUID)))
		if _, err := next(); err != nil {
			t.Fatalf("connection %d: %v", n, err)
		}
		if n == 0 {
			first = next
		}
	}
	if s, err := first(); err == nil {
		t.Fatalf("the first of too many connections is told %+v", s)
	}
}

func TestAnOpenConnectionEndsWithItsCertificate(t *testing.T) {
	a := newAuthority(t)
	path := write(t, a.pem())
	i := newIdentity(t, podUID, NewBundle(path).Roots)
	p := openPort(t, ServerConfig{Identity: i}, func(s *Server) { s.watchPeriod = 50 * time.Millisecond })
	c := p.caller(a.operator().EnrolmentConfig(podUID))
	next := p.follow(c)
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(newAuthority(t).pem()), 0o600); err != nil {
		t.Fatal(err)
	}
	if s, err := next(); err == nil {
		t.Fatalf("a watcher whose CA is trusted no more is told %+v", s)
	}
	if status, _, err := p.try(c, http.MethodGet, PathState, ""); err == nil && status != http.StatusForbidden {
		t.Fatalf("it answers with status %d", status)
	}
	if _, _, err := p.try(c, http.MethodGet, PathState, ""); err == nil {
		t.Fatal("the connection was not ended")
	}
}

func TestAWatcherHearsEveryChangeAndNoStreamOfThem(t *testing.T) {
	a := newAuthority(t)
	i := newIdentity(t, podUID, fixed(a.pem()))
	var mu sync.Mutex
	state, changed := State{}, make(chan struct{})
	change := func(n int64) {
		mu.Lock()
		defer mu.Unlock()
		state.MemoryBytes = n
		close(changed)
		changed = make(chan struct{})
	}
	p := openPort(t, ServerConfig{
		Identity: i,
		State:    func() State { mu.Lock(); defer mu.Unlock(); return state },
		Changed:  func() <-chan struct{} { mu.Lock(); defer mu.Unlock(); return changed },
	})
	next := p.follow(p.caller(a.operator().EnrolmentConfig(podUID)))
	if _, err := next(); err != nil {
		t.Fatal(err)
	}
	const last = 10_000
	go func() {
		for n := range last {
			change(int64(n) + 1)
		}
	}()
	states := 0
	for {
		s, err := next()
		if err != nil {
			t.Fatal(err)
		}
		if states++; s.MemoryBytes == last {
			break
		}
	}
	if states > last/10 {
		t.Fatalf("%d states were told of %d changes", states, last)
	}
}

func TestThePortOpensOnceSomebodyIsTrusted(t *testing.T) {
	a := newAuthority(t)
	path := filepath.Join(t.TempDir(), "ca.crt")
	log := new(lastLine)
	s := NewServer(ServerConfig{
		Identity: newIdentity(t, podUID, NewBundle(path).Roots), Logger: slog.New(slog.NewTextHandler(log, nil)),
	})
	opened := make(chan string, 1)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		s.Run(ctx, func(ctx context.Context) ([]net.Listener, error) {
			l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
			if err != nil {
				return nil, err
			}
			opened <- l.Addr().String()
			return []net.Listener{l}, nil
		})
	}()
	defer func() { stop(); <-ended }()
	select {
	case <-opened:
		t.Fatal("the port is open though nobody is trusted")
	case <-time.After(200 * time.Millisecond):
	}
	line, _ := log.Load().(string)
	if !strings.Contains(line, "Control port shut") || !strings.Contains(line, "no such file") {
		t.Fatalf("the log says %q", line)
	}
	if err := os.WriteFile(path, []byte(a.pem()), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &port{t: t, Server: s}
	select {
	case p.address = <-opened:
	case <-time.After(10 * time.Second):
		t.Fatal("the port stays shut")
	}
	if status, _ := p.call(p.caller(a.operator().EnrolmentConfig(podUID)), http.MethodGet, PathState, ""); status != 200 {
		t.Fatal(status)
	}
	stop()
	<-ended
	if conn, err := net.Dial("tcp", p.address); err == nil {
		conn.Close()
		t.Fatal("the port is open after the end")
	}
}
