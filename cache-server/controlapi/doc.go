// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package controlapi holds what the operator and the pods that it talks to say
// to each other over the control port: paths, messages and the names in
// certificates. It is the one package that both sides import, and it imports
// neither.
//
// The operator dials; pods never do. It is HTTP/2 over mutual TLS, one
// connection a pod. Messages are JSON. A message may gain fields, which the
// other side passes over, so that either side may be two releases older than
// the other; a field is never given another meaning. What would need that gets
// a new path.
package controlapi
