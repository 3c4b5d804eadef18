// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	corev1 "k8s.io/api/core/v1"
)

// Settings are what the operator's flags decide for the pods of every fleet.
type Settings struct {
	// CacheImage is the cache server's image, by tag or digest.
	CacheImage string
	// ImagePullPolicy is the pods' pull policy; empty leaves it to Kubernetes.
	ImagePullPolicy corev1.PullPolicy
	// ImagePullSecrets name Secrets in each fleet's own namespace.
	ImagePullSecrets []string
}
