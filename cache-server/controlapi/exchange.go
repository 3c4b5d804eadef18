// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

const contentType = "application/json"

// Problem is the answer to a request that was not done.
type Problem struct {
	// Message says why: which field, and what to write instead.
	Message string `json:"message"`
}

// The reasons why a request is not done.
var (
	// ErrInvalid means that the request is wrong and will be the next time.
	ErrInvalid = errors.New("invalid")
	// ErrRefused means that the pod, as it was started, does not do that.
	ErrRefused = errors.New("refused")
)

// AsInvalid marks an error as the caller's: the request is wrong.
func AsInvalid(err error) error { return fmt.Errorf("%w: %w", ErrInvalid, err) }

// AsRefused marks an error as a refusal by a pod that was started otherwise.
func AsRefused(err error) error { return fmt.Errorf("%w: %w", ErrRefused, err) }

// Answer returns a handler that asks do and answers what it says.
func Answer[Out any](do func(context.Context) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		out, err := do(r.Context())
		reply(w, out, err)
	})
}

// Take returns a handler that reads a message of at most so many bytes, gives
// it to do and answers what that says.
func Take[In, Out any](most int64, do func(context.Context, *In) (Out, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		in := new(In)
		if err := Decode(http.MaxBytesReader(w, r.Body, most), in); err != nil {
			var tooLong *http.MaxBytesError
			if errors.As(err, &tooLong) {
				writeProblem(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("the message is longer than %d bytes", most))
				return
			}
			writeProblem(w, http.StatusBadRequest, err.Error())
			return
		}
		out, err := do(r.Context(), in)
		reply(w, out, err)
	})
}

// Decode reads one message and nothing after it. Fields that it does not know
// are those of another release, and passed over.
func Decode(r io.Reader, into any) error {
	d := json.NewDecoder(r)
	if err := d.Decode(into); err != nil {
		return fmt.Errorf("the message is no JSON of its kind: %w", err)
	}
	switch _, err := d.Token(); {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return errors.New("there is something after the message")
	default:
		return fmt.Errorf("there is something after the message: %w", err)
	}
}

func reply(w http.ResponseWriter, out any, err error) {
	switch {
	case errors.Is(err, ErrInvalid):
		writeProblem(w, http.StatusUnprocessableEntity, err.Error())
	case errors.Is(err, ErrRefused):
		writeProblem(w, http.StatusConflict, err.Error())
	case err != nil:
		writeProblem(w, http.StatusInternalServerError, err.Error())
	default:
		writeMessage(w, http.StatusOK, out)
	}
}

func writeProblem(w http.ResponseWriter, status int, message string) {
	writeMessage(w, status, Problem{Message: bounded(message)})
}

func writeMessage(w http.ResponseWriter, status int, message any) {
	data, err := json.Marshal(message)
	if err != nil {
		status, data = http.StatusInternalServerError, []byte(`{"message":"the answer cannot be written"}`)
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	w.Header().Set("Content-Type", contentType)
	w.WriteHeader(status)
	_, _ = w.Write(append(data, '\n'))
}
