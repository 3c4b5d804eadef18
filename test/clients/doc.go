// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package clients lets real clients of memcached, in six languages, do what applications do with them: with our
// binary, and with memcached as the control. Each client has a script of its own in scripts, in its own idiom, that
// names every step it has done; hack/client.sh brings interpreters and clients along without installing anything.
package clients
