// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package health tests config/argocd in the Lua engine that Argo CD uses, with
// the libraries that it gives to the scripts of argocd-cm and no others. The
// same rows run through Argo CD's own code in hack/argo/health.
package health
