// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package resources

import (
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

// What spec leaves open.
const (
	DefaultMaxConnections = 1024
	DefaultMaxItemSize    = 1 << 20
	DefaultCPU            = "100m"
)

// The overhead model; docs/memory.md explains each term.
const (
	mebibyte           = 1 << 20
	overheadShare      = 32 // one part of so many of the item memory
	overheadBase       = 48 * mebibyte
	overheadConnection = 24 << 10
	overheadItems      = 4 // items in flight at their largest
)

// PodMemory returns a pod's memory request and limit in bytes: what the engine
// may use for items and index, and what the process needs beside it.
func PodMemory(memory, maxItemSize int64, maxConnections int32) int64 {
	total := memory + memory/overheadShare + overheadBase +
		int64(maxConnections)*overheadConnection + overheadItems*maxItemSize
	return (total + mebibyte - 1) / mebibyte * mebibyte
}

// MaxItemSize returns the fleet's effective largest item in bytes.
func MaxItemSize(m *v1alpha1.Memcache) int64 {
	if m.Spec.Engine.MaxItemSize == nil {
		return DefaultMaxItemSize
	}
	return m.Spec.Engine.MaxItemSize.Value()
}

// MaxConnections returns the fleet's effective limit of connections per replica.
func MaxConnections(m *v1alpha1.Memcache) int32 {
	if m.Spec.Engine.MaxConnections == nil {
		return DefaultMaxConnections
	}
	return *m.Spec.Engine.MaxConnections
}

func cpuRequest(m *v1alpha1.Memcache) resource.Quantity {
	if m.Spec.CPU == nil {
		return resource.MustParse(DefaultCPU)
	}
	return m.Spec.CPU.DeepCopy()
}
