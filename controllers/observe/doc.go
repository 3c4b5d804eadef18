// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package observe is what the operator sees of everybody else's objects: of
// those that decide who reaches a fleet, and of no other. The manager's own
// cache holds only what carries our label; here are the policies, Services,
// EndpointSlices and namespaces of the cluster, and its pods while a fleet needs
// them, each stripped to what is judged.
//
// Nothing is watched while there is no fleet. What may not be watched is told
// as not observed, and never holds up the manager: see [Observer.Around].
package observe
