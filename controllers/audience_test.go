// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/memkeep/memkeep/api/v1alpha1"
	"github.com/memkeep/memkeep/controllers/peers"
)

// TestWhatStatusSaysOfWhoIsConnected has a row for each way from one status to the next.
func TestWhatStatusSaysOfWhoIsConnected(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 678, time.UTC)
	at := func(d time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(d).Truncate(time.Second))) }
	before := func(mode v1alpha1.AccessMode, n int32, since *metav1.Time) *v1alpha1.AccessStatus {
		return &v1alpha1.AccessStatus{Mode: mode, WouldBeCutOff: new(n), WouldBeCutOffSince: since}
	}
	report := func(n int) func(*facts) {
		return func(f *facts) { f.audience.report = peers.Report{Known: true, WouldBeCutOff: n} }
	}
	cut := func(n int) func(*facts) {
		return func(f *facts) { f.audience.changed, f.audience.cut.count = true, n }
	}
	const audit, enforce = v1alpha1.AccessAudit, v1alpha1.AccessEnforce
	for name, c := range map[string]struct {
		mode   v1alpha1.AccessMode
		before *v1alpha1.AccessStatus
		change func(*facts)
		count  int32 // -1 for none
		since  *metav1.Time
	}{
		"in enforce nothing is said":                   {"", nil, nil, -1, nil},
		"in audit nothing is said before it is known":  {audit, nil, nil, -1, nil},
		"in audit nobody is 0":                         {audit, nil, report(0), 0, nil},
		"in audit the first is since now":              {audit, before(audit, 0, nil), report(2), 2, at(0)},
		"in audit more are since the first":            {audit, before(audit, 2, at(-time.Hour)), report(5), 5, at(-time.Hour)},
		"in audit nobody any more has no since":        {audit, before(audit, 2, at(-time.Hour)), report(0), 0, nil},
		"in audit it stays while it is not known":      {audit, before(audit, 2, at(-time.Hour)), nil, 2, at(-time.Hour)},
		"audit begins anew after enforce":              {audit, before(enforce, 2, at(-time.Hour)), nil, -1, nil},
		"a change in enforce says whom it cuts off":    {"", before(audit, 7, at(-time.Hour)), cut(3), 3, at(0)},
		"a change that cuts off nobody says nothing":   {"", before(enforce, 7, at(-time.Hour)), cut(0), -1, nil},
		"what a change did stays until the next":       {"", before(enforce, 7, at(-time.Hour)), nil, 7, at(-time.Hour)},
		"enforce does not keep what was told in audit": {"", before(audit, 7, at(-time.Hour)), nil, -1, nil},
		"an invalid spec changes nothing": {audit, before(enforce, 7, at(-time.Hour)), func(f *facts) {
			report(1)(f)
			f.invalid = problems{"spec.x: y"}
		}, 7, at(-time.Hour)},
		"a policy that is not applied changes nothing": {audit, before(enforce, 7, at(-time.Hour)), func(f *facts) {
			report(1)(f)
			f.policy = ""
		}, 7, at(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			m := sessions(func(m *v1alpha1.Memcache) { m.Spec.Access.Mode = c.mode })
			f := healthy()
			if c.change != nil {
				c.change(f)
			}
			s := &v1alpha1.MemcacheStatus{Access: c.before.DeepCopy()}
			audienceOf(m, f, s, now)
			got := int32(-1)
			if s.Access.WouldBeCutOff != nil {
				got = *s.Access.WouldBeCutOff
			}
			if got != c.count || !s.Access.WouldBeCutOffSince.Equal(c.since) {
				t.Errorf("got %d since %v, want %d since %v", got, s.Access.WouldBeCutOffSince, c.count, c.since)
			}
			if f.policy != "" && len(f.invalid) == 0 && s.Access.Mode != m.Spec.Access.EffectiveMode() {
				t.Errorf("the mode is said to be %q", s.Access.Mode)
			}
		})
	}
}
