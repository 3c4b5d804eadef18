// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package attack plays outsiders against fleets on the real cluster. Each is a
// real identity with exactly the rights that its row names, and tries every way
// that these give to read what a fleet holds, to receive what its clients store,
// or to become a client. Each attempt has the outcome that is expected of it: the
// table in docs/security-model.md is rendered from the outcomes, and what is
// said there to be open has to be open as well.
//
// Every protection has its mutation: it is taken away, and the same attempt must
// come to another end.
package attack
