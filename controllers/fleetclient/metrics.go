// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package fleetclient

import "github.com/prometheus/client_golang/prometheus"

// counts are a pool's metrics that only rise.
type counts struct {
	failures, enrolments, pushes *prometheus.CounterVec
	streams                      *prometheus.Desc
}

func newCounts() counts {
	counter := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, []string{label})
	}
	return counts{
		failures: counter("memkeep_control_failures_total",
			"Control connections to pods that were lost or not made, by kind.", "kind"),
		enrolments: counter("memkeep_control_certificates_total",
			"Certificates of pods that were to be signed and installed, by result.", "result"),
		pushes: counter("memkeep_control_pushes_total",
			"Messages of what is wanted of a pod, by result.", "result"),
		streams: prometheus.NewDesc("memkeep_control_streams",
			"Pods that the operator keeps a control connection to, by its state.", []string{"state"}, nil),
	}
}

func result(ok bool) string {
	if ok {
		return "success"
	}
	return "failure"
}

func (c *counts) failed(kind Kind) { c.failures.WithLabelValues(string(kind)).Inc() }

func (c *counts) enrolled(ok bool) { c.enrolments.WithLabelValues(result(ok)).Inc() }

func (c *counts) pushed(ok bool) { c.pushes.WithLabelValues(result(ok)).Inc() }

// Describe implements prometheus.Collector.
func (p *Pool) Describe(ch chan<- *prometheus.Desc) {
	ch <- p.counts.streams
	p.counts.failures.Describe(ch)
	p.counts.enrolments.Describe(ch)
	p.counts.pushes.Describe(ch)
}

// Collect implements prometheus.Collector. A standby has no streams.
func (p *Pool) Collect(ch chan<- prometheus.Metric) {
	up, down := p.streams()
	ch <- prometheus.MustNewConstMetric(p.counts.streams, prometheus.GaugeValue, float64(up), "up")
	ch <- prometheus.MustNewConstMetric(p.counts.streams, prometheus.GaugeValue, float64(down), "down")
	p.counts.failures.Collect(ch)
	p.counts.enrolments.Collect(ch)
	p.counts.pushes.Collect(ch)
}

// streams counts the pods with a connection and those without.
func (p *Pool) streams() (up, down int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.running == nil {
		return 0, 0
	}
	for _, pod := range p.pods {
		if pod.said() != nil {
			up++
		} else {
			down++
		}
	}
	return up, down
}
