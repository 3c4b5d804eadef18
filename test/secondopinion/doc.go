// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package secondopinion compares what the operator makes of NetworkPolicies with
// what somebody else's evaluator does: that of cyclonus, which tests network
// plugins. It is a module of its own, so that what that needs stays out of ours.
//
// Two directions: whoever gets in by cyclonus and not by the fleet's own policy
// must be reported, and of everything that is reported there is an example, who
// must get in by cyclonus, and not by the fleet's own policy.
package secondopinion
