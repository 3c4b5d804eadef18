// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"github.com/memkeep/memkeep/controllers/access"
	"github.com/memkeep/memkeep/controllers/proof"
	"github.com/memkeep/memkeep/controllers/resources"
	"github.com/memkeep/memkeep/controllers/rollout"
)

// facts are what one pass found and did; status is computed from them alone.
type facts struct {
	// deleting tells that the Memcache, or its namespace, is on its way out.
	deleting bool
	// paused tells that only access is to be reconciled.
	paused bool
	// invalid is what is wrong with the spec.
	invalid problems
	// clashes are children whose name somebody else's object has.
	clashes []string
	// waiting says what has to go away before a child can be made.
	waiting []string
	// refusal is why the API server accepts a child not.
	refusal string
	// err is an error that is tried again with backoff.
	err error
	// again is when to look again, where no watch tells; zero for never.
	again time.Duration
	// moved tells that this pass wrote the StatefulSet or deleted a pod, so that
	// what was gathered is already history.
	moved bool

	// deny is the UID of the NetworkPolicy that admits nobody, once it is ours and as rendered.
	deny types.UID
	// policy is the UID of the fleet's NetworkPolicy, once both are ours and as rendered.
	policy types.UID
	// services tells that both Services are ours.
	services bool
	// clusterIPs are the Services' addresses.
	clusterIPs []string
	// applied tells that every child is as it should be.
	applied bool
	// template is the pod template in force.
	template resources.Template
	// outdatedTemplate tells that this operator would render another one.
	outdatedTemplate bool

	// statefulSet is the fleet's, as last seen; nil when there is none of ours.
	statefulSet *appsv1.StatefulSet
	// pods are the StatefulSet's pods by ordinal.
	pods []corev1.Pod
	// decision is what the rollout wants.
	decision rollout.Decision
	// replaced is the pod that this pass deleted.
	replaced string
	// proof is what the proofs of enforcement know; nil where there are none.
	proof *proof.Report
	// widened is what is known of who else gets in; nil where that is still being read.
	widened *widened
	// audience is what is known of who is connected.
	audience audience
	// podRefusal is why the API server accepts a pod not.
	podRefusal string
}

// addresses are those at which the fleet is reached.
func (f *facts) addresses() []string {
	out := slices.Clone(f.clusterIPs)
	for i := range f.pods {
		for _, ip := range f.pods[i].Status.PodIPs {
			out = append(out, access.Address(ip.IP))
		}
	}
	return out
}

// acted tells whether the whole spec was acted on.
func (f *facts) acted() bool {
	return f.applied && f.err == nil
}

// observed tells whether the StatefulSet controller has seen the StatefulSet
// that we want.
func (f *facts) observed() bool {
	return f.acted() && !f.moved && f.statefulSet != nil &&
		f.statefulSet.Status.ObservedGeneration == f.statefulSet.Generation
}

// recheck asks for another pass after d, or sooner if one was asked for.
func (f *facts) recheck(d time.Duration) {
	if f.again == 0 || d < f.again {
		f.again = d
	}
}

// failed notes what follows from an error of the API server.
func (f *facts) failed(err error) {
	switch classify(err) {
	case raced:
		f.recheck(recheckRaced)
		f.waiting = append(f.waiting, "an object changed while it was being written")
	case refused:
		f.recheck(recheckRefused)
		if f.refusal == "" {
			f.refusal = explain(err)
		}
	case closing:
		f.deleting = true
	default:
		f.err = errors.Join(f.err, err)
	}
}

// explain words a refusal. What the API server finds invalid is named by field;
// the values stay out of status.
func explain(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return truncated(err.Error())
	}
	s := status.Status()
	if !apierrors.IsInvalid(err) || s.Details == nil || len(s.Details.Causes) == 0 {
		return truncated(s.Message)
	}
	fields := make([]string, 0, len(s.Details.Causes))
	for _, c := range s.Details.Causes {
		fields = append(fields, c.Field)
	}
	return fmt.Sprintf("%s %s is invalid at %s", s.Details.Kind, s.Details.Name, bounded(fields))
}

const (
	maxNamed   = 3
	maxMessage = 300
)

// bounded joins at most three items and says how many more there are.
func bounded(items []string) string {
	if len(items) <= maxNamed {
		return strings.Join(items, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(items[:maxNamed], "; "), len(items)-maxNamed)
}

// counted returns a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

func truncated(s string) string {
	if len(s) <= maxMessage {
		return s
	}
	return strings.ToValidUTF8(s[:maxMessage], "") + "..."
}
