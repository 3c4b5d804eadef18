// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollout decides which pod of a fleet is replaced next. It is pure:
// what is there goes in, one decision comes out.
package rollout

import (
	"fmt"

	"k8s.io/apimachinery/pkg/types"
)

// Pod is a pod of the fleet as the decision needs it.
type Pod struct {
	Name        string
	UID         types.UID
	Ordinal     int32
	Revision    string
	Ready       bool
	Terminating bool
}

// Fleet is what there is and what is wanted.
type Fleet struct {
	// Wanted is the number of pods that should exist.
	Wanted int32
	// Revision is the current template's; empty while the StatefulSet
	// controller has not seen the template yet.
	Revision string
	// Pods are the pods that exist, in any order.
	Pods []Pod
}

// Decision says what to do now.
type Decision struct {
	// Outdated is the number of wanted pods of another revision.
	Outdated int
	// Replace is the pod to delete now; nil for none.
	Replace *Pod
	// Waiting says what has to happen first, while Outdated is not zero and
	// nothing is replaced.
	Waiting string
}

// Decide picks the pod to replace, one at a time. A pod that serves nobody goes
// first: nothing is lost with it, and it is the way out of a template that never
// got ready. A pod that serves is touched only while every wanted pod is there
// and ready, so that a template that does not work stops at the first pod.
func Decide(f Fleet) Decision {
	if f.Revision == "" {
		return Decision{}
	}
	var outdated, broken, terminating, unready *Pod
	var d Decision
	present := int32(0)
	for i := range f.Pods {
		p := &f.Pods[i]
		if p.Ordinal >= f.Wanted {
			continue
		}
		present++
		switch {
		case p.Terminating:
			terminating = highest(terminating, p)
		case !p.Ready && p.Revision != f.Revision:
			broken = highest(broken, p)
		case !p.Ready:
			unready = highest(unready, p)
		case p.Revision != f.Revision:
			outdated = highest(outdated, p)
		}
		if p.Revision != f.Revision {
			d.Outdated++
		}
	}
	switch {
	case d.Outdated == 0:
	case terminating != nil:
		d.Waiting = terminating.Name + " is terminating"
	case broken != nil:
		d.Replace = broken
	case present < f.Wanted:
		d.Waiting = fmt.Sprintf("%d of %d pods exist", present, f.Wanted)
	case unready != nil:
		d.Waiting = unready.Name + " is updated and not ready"
	default:
		d.Replace = outdated
	}
	return d
}

// highest keeps the pod with the highest ordinal, the order in which a
// StatefulSet updates.
func highest(a, b *Pod) *Pod {
	if a == nil || b.Ordinal > a.Ordinal {
		return b
	}
	return a
}
