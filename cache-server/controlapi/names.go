// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controlapi

import "net/url"

// The control port and what a certificate on it says.
const (
	// Port is the control port of every pod.
	Port = 11213
	// scheme and authority begin the URI names in certificates.
	scheme, authorityName = "memkeep", "control"
)

// OperatorName returns the URI name that a client of the control port carries,
// together with the client-auth usage alone.
func OperatorName() *url.URL {
	return &url.URL{Scheme: scheme, Host: authorityName, Path: "/operator"}
}

// PodName returns the URI name that the pod with this UID carries as a server,
// together with the server-auth usage alone.
func PodName(uid string) *url.URL {
	return &url.URL{Scheme: scheme, Host: authorityName, Path: "/pods/" + uid}
}
