// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package health runs config/argocd through Argo CD's own code, once as a
// script of Argo CD's repository and once as an entry of argocd-cm.
package health
