// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"io"
	"text/tabwriter"
)

// writeTable prints the report for people.
func (r *report) writeTable(w io.Writer) error {
	fmt.Fprintf(w, "%s, %d CPUs (%s), Linux %s, load %.1f at the start\n", r.Started.UTC().Format("2006-01-02 15:04"),
		r.Machine.CPUs, r.Machine.CPU, r.Machine.Kernel, r.Machine.LoadMean)
	fmt.Fprintf(w, "servers with %d threads on CPU %v, generator on CPU %v\n", r.Threads, r.Layout.Servers,
		r.Layout.Generator)
	for _, name := range r.order {
		fmt.Fprintf(w, "%s: %s\n", name, r.Versions[name])
	}
	if len(r.Saturation) > 0 {
		fmt.Fprintf(w, "open loops run at %.0f %% of %.0f requests a second\n", openShare*100, r.saturation())
	}
	fmt.Fprintf(w, "\nRatios are to %s, median of the rounds [least-most]. Times are in microseconds.\n\n", reference)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "scenario\tserver\tCPU/key\tratio\tkeys/s\tratio\tp50\tp99\tp99.9\tratio"+
		"\tgenerator\tlate p99.9\ttarget")
	for _, c := range r.Scenarios {
		for _, name := range r.order {
			if o := c.Servers[name]; o != nil {
				c.writeRow(t, name, o)
			}
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	r.writeExtras(w)
	for _, c := range r.Scenarios {
		for _, name := range r.order {
			if o := c.Servers[name]; o != nil {
				for _, failure := range o.Failures {
					fmt.Fprintf(w, "FAILED %s on %s: %s\n", c.Name, name, failure)
				}
			}
		}
	}
	return nil
}

func (c *chapter) writeRow(w io.Writer, name string, o *outcome) {
	if len(o.Rounds) == 0 {
		fmt.Fprintf(w, "%s\t%s\tFAILED\n", c.Name, name)
		return
	}
	f, ratio := o.Figures, func(figure string) string { return ratioText(o.Ratios[figure]) }
	fmt.Fprintf(w, "%s\t%s\t%.2f\t%s\t%.0f\t%s\t%.0f\t%.0f\t%.0f\t%s\t%.2f\t%.0f\t%s\n", c.Name, name,
		f["serverCPUPerKey"].Median, ratio("serverCPUPerKey"), f["keysPerSecond"].Median, ratio("keysPerSecond"),
		f["p50"].Median, f["p99"].Median, f["p999"].Median, ratio("p999"), f["generatorCPUPerKey"].Median,
		f["generatorLateP999"].Median, c.judge(name, o))
}

func ratioText(s spread) string {
	if s.Rounds == 0 {
		return ""
	}
	return fmt.Sprintf("%.2f [%.2f-%.2f]", s.Median, s.Least, s.Most)
}

// judge compares our ratio with the target.
func (c *chapter) judge(name string, o *outcome) string {
	if name != ours || c.Target == 0 {
		return ""
	}
	figure := map[metric]string{perKey: "serverCPUPerKey", tail: "p999"}[c.Metric]
	return verdictOn(o.Ratios[figure], c.Target, string(c.Metric))
}

func verdictOn(s spread, target float64, what string) string {
	switch {
	case s.Rounds == 0:
		return ""
	case s.Median <= target:
		return fmt.Sprintf("%s <= %.2f: reached", what, target)
	default:
		return fmt.Sprintf("%s <= %.2f: MISSED by %.0f %%", what, target, (s.Median/target-1)*100)
	}
}

// writeList prints the scenarios.
func writeList(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SCENARIO\tMOST\tOF\tABOUT")
	for _, g := range groups(defaultKeys) {
		for _, s := range g.scenarios {
			target := "-"
			if s.target > 0 {
				target = fmt.Sprintf("%.2f", s.target)
			}
			fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", s.name, target, cmp.Or(string(s.metric), "-"), s.about)
		}
	}
	_ = t.Flush()
}
