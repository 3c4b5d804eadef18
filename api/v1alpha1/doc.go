// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the Memcache API of the group memkeep.io: types,
// conditions and reasons. It imports apimachinery and k8s.io/api/core only, so
// that other programs can use it without pulling the operator in.
//
// +kubebuilder:object:generate=true
// +kubebuilder:ac:generate=true
// +groupName=memkeep.io
package v1alpha1
