// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetclient

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

const (
	// dialTimeout bounds a connection with its handshake, and callTimeout one call.
	dialTimeout = 5 * time.Second
	callTimeout = 10 * time.Second
	// pingAfter is how long a connection may be silent before it is asked whether
	// it lives.
	pingAfter   = 20 * time.Second
	pingTimeout = 10 * time.Second
	// maxAnswer is the longest answer in bytes.
	maxAnswer = 8 << 20
	// windowPerStream is how much of an answer may be on its way.
	windowPerStream = 64 << 10
)

// dialling is how one connection is made, and what its other end presented.
type dialling struct {
	config *tls.Config
	peer   *x509.Certificate
}

type diallingKey struct{}

// newTransport returns the transport of all connections.
func newTransport() *http.Transport {
	t := &http.Transport{
		Protocols: new(http.Protocols), DialTLSContext: dialTLS, DisableCompression: true,
		HTTP2: &http.HTTP2Config{
			MaxReceiveBufferPerStream: windowPerStream, MaxReceiveBufferPerConnection: windowPerStream,
			SendPingTimeout: pingAfter, PingTimeout: pingTimeout, WriteByteTimeout: callTimeout,
		},
	}
	t.Protocols.SetHTTP2(true)
	return t
}

// dialTLS connects as the context says.
func dialTLS(ctx context.Context, network, address string) (net.Conn, error) {
	d, ok := ctx.Value(diallingKey{}).(*dialling)
	if !ok {
		return nil, errors.New("nothing says who is to be dialled")
	}
	raw, err := new(net.Dialer).DialContext(ctx, network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // it names the address
	}
	secured := tls.Client(raw, d.config)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = raw.Close()
		return nil, err //nolint:wrapcheck // it says what is wrong
	}
	d.peer = secured.ConnectionState().PeerCertificates[0]
	return secured, nil
}

// link is one connection to a pod.
type link struct {
	conn *http.ClientConn
	host string
	peer *x509.Certificate
}

// dial connects to the first of a pod's addresses that answers.
func dial(ctx context.Context, t *http.Transport, target *Target, port uint16, config *tls.Config) (*link, error) {
	err := errors.New("the pod has no address yet")
	for _, address := range target.Addresses {
		host := net.JoinHostPort(address, strconv.Itoa(int(port)))
		var l *link
		if l, err = dialOne(ctx, t, host, config); err == nil {
			return l, nil
		}
		if ctx.Err() != nil {
			break
		}
	}
	return nil, connecting(err)
}

func dialOne(ctx context.Context, t *http.Transport, host string, config *tls.Config) (*link, error) {
	d := &dialling{config: config}
	ctx, cancel := context.WithTimeout(context.WithValue(ctx, diallingKey{}, d), dialTimeout)
	defer cancel()
	conn, err := t.NewClientConn(ctx, "https", host)
	if err != nil {
		return nil, err //nolint:wrapcheck // it says what is wrong
	}
	return &link{conn, host, d.peer}, nil
}

// close ends the connection and whatever uses it.
func (l *link) close() { _ = l.conn.Close() }

// open sends a request and returns the answer if it is a good one; its body is
// the caller's to close.
func (l *link) open(ctx context.Context, method, path string, in any) (*http.Response, error) {
	var body io.Reader
	if in != nil {
		data, err := json.Marshal(in)
		if err != nil {
			return nil, fmt.Errorf("encode the request: %w", err)
		}
		body = bytes.NewReader(data)
	}
	req, err := http.NewRequestWithContext(ctx, method, "https://"+l.host+path, body)
	if err != nil {
		return nil, fmt.Errorf("make the request: %w", err)
	}
	resp, err := l.conn.RoundTrip(req)
	if err != nil {
		return nil, connecting(err)
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		const mostProblem = 4 << 10
		text, _ := io.ReadAll(io.LimitReader(resp.Body, mostProblem))
		var p controlapi.Problem
		if json.Unmarshal(text, &p) != nil {
			p.Message = http.StatusText(resp.StatusCode)
		}
		return nil, answered(resp.StatusCode, p.Message)
	}
	return resp, nil
}

// call sends a request and reads its answer.
func (l *link) call(ctx context.Context, method, path string, in, out any) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := l.open(ctx, method, path, in)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := controlapi.Decode(io.LimitReader(resp.Body, maxAnswer), out); err != nil {
		if ctx.Err() != nil {
			return connecting(ctx.Err())
		}
		return &Error{Broken, err}
	}
	return nil
}
