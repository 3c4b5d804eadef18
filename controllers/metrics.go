// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

var podsReplaced = prometheus.NewCounter(prometheus.CounterOpts{
	Name: "memkeep_pods_replaced_total",
	Help: "Outdated pods that the operator replaced.",
})

func init() {
	metrics.Registry.MustRegister(podsReplaced)
}

// collectTimeout bounds one scrape; it reads from the cache alone.
const collectTimeout = 5 * time.Second

// fleetCollector counts fleets by the status of their conditions. It answers
// nothing on a standby, so that sums over the operator's pods are right.
type fleetCollector struct {
	reader  client.Reader
	elected <-chan struct{}
	fleets  *prometheus.Desc
	members *prometheus.Desc
	access  *prometheus.Desc
	cutOff  *prometheus.Desc
}

// summarised are the conditions whose status is counted.
var summarised = []string{
	v1alpha1.ConditionReady, v1alpha1.ConditionAvailable, v1alpha1.ConditionAccessConfigured,
	v1alpha1.ConditionAccessEnforced, v1alpha1.ConditionAccessWidened, v1alpha1.ConditionUpdateAvailable,
	v1alpha1.ConditionStalled,
}

func registerFleetMetrics(mgr ctrl.Manager) error {
	return metrics.Registry.Register(&fleetCollector{
		reader:  mgr.GetClient(),
		elected: mgr.Elected(),
		fleets: prometheus.NewDesc("memkeep_fleets",
			"Memcache objects by the status of a condition.", []string{"condition", "status"}, nil),
		members: prometheus.NewDesc("memkeep_members",
			"Cache pods of all fleets: wanted, existing, ready and updated.", []string{"state"}, nil),
		access: prometheus.NewDesc("memkeep_fleets_access",
			"Memcache objects by what their spec says of access.", []string{"mode", "peers", "verification"}, nil),
		cutOff: prometheus.NewDesc("memkeep_fleets_would_be_cut_off",
			"Addresses connected to fleets in mode Audit that mode Enforce would cut off.", nil, nil),
	})
}

// Describe implements prometheus.Collector.
func (c *fleetCollector) Describe(ch chan<- *prometheus.Desc) {
	ch <- c.fleets
	ch <- c.members
	ch <- c.access
	ch <- c.cutOff
}

// Collect implements prometheus.Collector.
func (c *fleetCollector) Collect(ch chan<- prometheus.Metric) {
	select {
	case <-c.elected:
	default:
		return
	}
	//nolint:forbidigo // A scrape brings no context.
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	list := &v1alpha1.MemcacheList{}
	if err := c.reader.List(ctx, list, client.DisableReadYourWritesConsistency); err != nil {
		ch <- prometheus.NewInvalidMetric(c.fleets, err)
		return
	}
	fleets, members := summarise(list.Items)
	for _, condition := range summarised {
		for _, status := range statuses {
			ch <- prometheus.MustNewConstMetric(c.fleets, prometheus.GaugeValue,
				fleets[condition][status], condition, strings.ToLower(string(status)))
		}
	}
	for state, n := range members {
		ch <- prometheus.MustNewConstMetric(c.members, prometheus.GaugeValue, n, state)
	}
	by, cut := audiences(list.Items)
	for labels, n := range by {
		ch <- prometheus.MustNewConstMetric(c.access, prometheus.GaugeValue, n, labels[:]...)
	}
	ch <- prometheus.MustNewConstMetric(c.cutOff, prometheus.GaugeValue, cut)
}

// audiences counts fleets by mode, peers and verification, and whom those in
// mode Audit admit that Enforce would not.
func audiences(items []v1alpha1.Memcache) (by map[[3]string]float64, cutOff float64) {
	by = map[[3]string]float64{}
	for i := range items {
		a := &items[i].Spec.Access
		mode := a.EffectiveMode()
		by[[3]string{string(mode), string(a.EffectivePeers()), string(a.EffectiveVerification())}]++
		if s := items[i].Status.Access; s != nil && mode == v1alpha1.AccessAudit && s.WouldBeCutOff != nil {
			cutOff += float64(*s.WouldBeCutOff)
		}
	}
	return by, cutOff
}

var statuses = []metav1.ConditionStatus{metav1.ConditionTrue, metav1.ConditionFalse, metav1.ConditionUnknown}

// summarise counts fleets by condition and status, and members by state. A
// condition that is absent counts as unknown, Stalled as false.
func summarise(items []v1alpha1.Memcache) (
	fleets map[string]map[metav1.ConditionStatus]float64, members map[string]float64,
) {
	fleets = map[string]map[metav1.ConditionStatus]float64{}
	for _, condition := range summarised {
		fleets[condition] = map[metav1.ConditionStatus]float64{}
	}
	members = map[string]float64{"wanted": 0, "existing": 0, "ready": 0, "updated": 0}
	for i := range items {
		m := &items[i]
		for _, condition := range summarised {
			status := metav1.ConditionUnknown
			if condition == v1alpha1.ConditionStalled {
				status = metav1.ConditionFalse
			}
			if c := meta.FindStatusCondition(m.Status.Conditions, condition); c != nil {
				status = c.Status
			}
			fleets[condition][status]++
		}
		if m.Spec.Replicas != nil {
			members["wanted"] += float64(*m.Spec.Replicas)
		}
		members["existing"] += float64(m.Status.Replicas)
		members["ready"] += float64(m.Status.ReadyReplicas)
		members["updated"] += float64(m.Status.UpdatedReplicas)
	}
	return fleets, members
}
