// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proof runs the rounds that prove, by dialling, whether the cluster
// enforces the fleets' policies: it says when, has the probers dial and the
// members testify, and keeps what follows. What a round tries and what it
// proves is decided in package access.
package proof

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/cache-server/controlapi"
	"github.com/memkeep/memkeep/controllers/access"
)

// Phone reaches pods over their control ports, each by its UID.
type Phone interface {
	// State asks a member what it knows about itself.
	State(ctx context.Context, member types.UID) (*controlapi.State, error)
	// Dial has an outsider dial.
	Dial(ctx context.Context, outsider types.UID, dial *controlapi.Dial) (*controlapi.Dialled, error)
	// Egress has a member try to connect to a decoy.
	Egress(ctx context.Context, member types.UID, egress *controlapi.Egress) (*controlapi.Result, error)
	// Gate opens or closes the cache ports of a member that was started with a
	// gate, if it still is the process that started as boot.
	Gate(ctx context.Context, member types.UID, boot string, open bool) error
}

// Member is a pod of a fleet.
type Member struct {
	access.Player
	// Started is another one with every start of the member's container.
	Started string
	// Since is when the container started; zero until the kubelet's startup probe
	// has found the metrics port.
	Since time.Time
}

// Fleet is what proofs need to know about a fleet.
type Fleet struct {
	// Key and UID are the Memcache's.
	Key types.NamespacedName
	UID types.UID
	// Access is the Memcache's.
	Access v1alpha1.AccessSpec
	// Members are the pods that are there to stay.
	Members []Member
	// Surroundings is another one whenever something changes that may change who
	// gets in: policies and labels. It is empty while that is not known.
	Surroundings string
	// Status is what was known when the operator started.
	Status *v1alpha1.MemcacheStatus
}

// Report is what is known about a fleet.
type Report struct {
	access.Finding
	// Members are the verdicts on members by their pods' UIDs.
	Members map[types.UID]v1alpha1.Enforcement
}

// pace is when what is done.
type pace struct {
	// interval is the time between two proofs of a member, give or take a fifth.
	interval time.Duration
	// debounce is how long changes are gathered before it is dialled anew.
	debounce time.Duration
	// settle is how long after a change somebody who gets in may be due to a
	// policy that takes effect late.
	settle time.Duration
	// confirm is the time between a first refutation and the second.
	confirm time.Duration
	// young is how long a pod counts as starting, and eager how often a starting
	// pod is looked at; a pod is dialled without a testimony once it is grown.
	young, eager, grown time.Duration
	// doubt is the first pause after a round without verdict, or with one that
	// stands; it doubles each time.
	doubt time.Duration
	// spread is the time over which all are proven anew after a start of the
	// operator or a change that concerns all.
	spread time.Duration
}

func defaultPace() pace {
	return pace{
		interval: 10 * time.Minute, debounce: time.Second, settle: 30 * time.Second, confirm: 2 * time.Second,
		young: time.Minute, eager: 500 * time.Millisecond, grown: 15 * time.Second,
		doubt: 5 * time.Second, spread: 30 * time.Second,
	}
}

const (
	// maxRounds is how many fleets are dialled at a time, and maxTogether how many
	// members of one fleet.
	maxRounds   = 8
	maxTogether = 8
	// perSecond bounds how many members are dialled a second.
	perSecond = 20
	// enoughRefutations close a gate and make the verdict stand, and enoughDoubts
	// in a row end what was known before.
	enoughRefutations = 2
	enoughDoubts      = 3
	// dialTimeout leaves room for two repeats of a lost SYN.
	dialTimeout = 2500 * time.Millisecond
	// callTimeout bounds a question over a control port, beside dialling.
	callTimeout = 3 * time.Second
)
