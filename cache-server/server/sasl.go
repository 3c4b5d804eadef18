// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"bytes"

	"github.com/memkeep/memkeep/cache-server/protocol"
)

// Authenticator decides whom to believe. Clients prove themselves by SASL PLAIN within the binary protocol.
type Authenticator interface {
	// Authenticate tells whether the password is the user's. It keeps neither slice, takes as long for a
	// user who does not exist as for a wrong password, and is called while other clients of the same thread
	// wait.
	Authenticate(user, password []byte) bool
}

// saslMechanism is the only mechanism offered.
const saslMechanism = "PLAIN"

// saslState is how far a connection has come with proving who it is.
type saslState uint8

const (
	// saslNone has proved nothing.
	saslNone saslState = iota
	// saslStarted was asked for its credentials.
	saslStarted
	// saslDone is believed.
	saslDone
)

// mayExecute tells whether a command may be executed by who has not proved to be anybody yet.
func (c *conn) mayExecute(command protocol.Command) bool {
	switch command {
	case protocol.SASLList, protocol.SASLAuth, protocol.SASLStep, protocol.Version:
		return true
	default:
		return c.auth == saslDone
	}
}

// saslList tells the mechanisms. Like every SASL request it takes back what was proved before.
func (c *conn) saslList(r *protocol.Request) {
	if c.s.cfg.Authenticator == nil {
		c.binaryError(r, protocol.StatusUnknownCommand)
		return
	}
	c.auth = saslNone
	c.ws.out = protocol.AppendBinaryText(c.ws.out, r, protocol.StatusOK, saslMechanism)
}

// sasl executes SASL auth and step, whose head is the first n bytes of in. complete is false when the
// credentials have not come yet.
func (c *conn) sasl(r *protocol.Request, n int, in []byte) (complete, proceed bool) {
	refusal := protocol.StatusOK
	switch {
	case c.s.cfg.Authenticator == nil:
		refusal = protocol.StatusUnknownCommand
	case len(r.Key) > protocol.MaxMechanismLen:
		refusal = protocol.StatusInvalid
	case n+r.Size > bufferSize: // no credentials are that long
		refusal = protocol.StatusOutOfMemory
	case len(in) < n+r.Size:
		return false, true
	}
	c.start += n
	if refusal != protocol.StatusOK {
		c.auth = saslNone
		c.binaryError(r, refusal)
		c.skip = r.Size
		return true, true
	}
	c.start += r.Size
	c.authenticate(r, in[n:n+r.Size])
	return true, true
}

// authenticate takes the credentials, or asks for them. Whatever fails takes back what was proved before, so
// that a second attempt begins where the first did.
func (c *conn) authenticate(r *protocol.Request, credentials []byte) {
	started := c.auth == saslStarted
	c.auth = saslNone
	switch {
	case r.Command == protocol.SASLStep && !started,
		r.Command == protocol.SASLAuth && string(r.Key) != saslMechanism:
	case r.Command == protocol.SASLAuth && len(credentials) == 0:
		c.auth = saslStarted
		c.ws.out = protocol.AppendBinaryText(c.ws.out, r, protocol.StatusAuthContinue, "")
		return
	default:
		user, password, ok := plainCredentials(credentials)
		if ok && c.s.cfg.Authenticator.Authenticate(user, password) {
			c.auth = saslDone
		}
	}
	c.ws.tally[authCmds]++
	if c.auth != saslDone {
		c.ws.tally[authErrors]++
		c.binaryError(r, protocol.StatusAuthError)
		return
	}
	c.ws.out = protocol.AppendBinaryText(c.ws.out, r, protocol.StatusOK, "Authenticated")
}

// plainCredentials parts what PLAIN sends: [whom to act as] NUL user NUL password. To act as somebody else is
// refused.
func plainCredentials(message []byte) (user, password []byte, ok bool) {
	actAs, rest, ok1 := bytes.Cut(message, []byte{0})
	user, password, ok2 := bytes.Cut(rest, []byte{0})
	if !ok1 || !ok2 || len(user) == 0 || bytes.IndexByte(password, 0) >= 0 {
		return nil, nil, false
	}
	if len(actAs) > 0 && !bytes.Equal(actAs, user) {
		return nil, nil, false
	}
	return user, password, true
}
