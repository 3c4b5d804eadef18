// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetclient

import (
	"errors"
	"fmt"
	"net"
	"net/http"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

// Kind sorts errors by what follows from them.
type Kind string

// The kinds of errors.
const (
	// Unreachable: there is no connection to the pod.
	Unreachable Kind = "Unreachable"
	// Rejected: the pod does not take us for its operator; most likely it does not
	// know the CA yet.
	Rejected Kind = "Rejected"
	// OtherPod: another pod answers at the address.
	OtherPod Kind = "OtherPod"
	// NotEnrolled: the pod has no certificate that we trust.
	NotEnrolled Kind = "NotEnrolled"
	// Unsupported: the pod does not know the request; it is older or newer.
	Unsupported Kind = "Unsupported"
	// Invalid: the pod finds the request wrong.
	Invalid Kind = "Invalid"
	// Refused: the pod, as it was started, does not do that.
	Refused Kind = "Refused"
	// Broken: the pod answers what nobody understands, or that it failed.
	Broken Kind = "Broken"
)

// Error is why a pod did not do what it was asked.
type Error struct {
	// Kind is what follows from it.
	Kind Kind
	// Err is what happened.
	Err error
}

// Error implements error.
func (e *Error) Error() string { return fmt.Sprintf("%s: %v", e.Kind, e.Err) }

// Unwrap returns what happened.
func (e *Error) Unwrap() error { return e.Err }

// KindOf returns the kind of an error; empty for none.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Broken
}

// connecting sorts an error of a connection.
func connecting(err error) error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	kind := Unreachable
	op, isOp := errors.AsType[*net.OpError](err)
	switch {
	case errors.Is(err, controlapi.ErrOtherPod):
		kind = OtherPod
	case errors.Is(err, controlapi.ErrNotEnrolled):
		kind = NotEnrolled
	case isOp && op.Op == "remote error": // a TLS alert
		kind = Rejected
	}
	return &Error{kind, err}
}

// answered sorts an answer that is no success.
func answered(status int, message string) error {
	kind := Broken
	switch status {
	case http.StatusForbidden:
		kind = Rejected
	case http.StatusNotFound, http.StatusMethodNotAllowed:
		kind = Unsupported
	case http.StatusConflict:
		kind = Refused
	case http.StatusBadRequest, http.StatusUnprocessableEntity, http.StatusRequestEntityTooLarge:
		kind = Invalid
	}
	return &Error{kind, fmt.Errorf("status %d: %s", status, message)}
}
