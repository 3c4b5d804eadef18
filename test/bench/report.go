// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/sys/unix"

	"github.com/memkeep/memkeep/test/bench/load"
)

// measurement is one scenario on one server in one round. Times are in microseconds.
type measurement struct {
	Round      int     `json:"round"`
	Requests   uint64  `json:"requests"`
	Keys       uint64  `json:"keys"`
	Misses     uint64  `json:"misses"`
	Seconds    float64 `json:"seconds"`
	Rate       float64 `json:"rate,omitempty"` // requests a second that an open loop asked for
	Throughput float64 `json:"keysPerSecond"`
	CPU        float64 `json:"serverCPUPerKey"`
	Busy       float64 `json:"serverCPUShare"` // of one processor
	Generator  float64 `json:"generatorCPUPerKey"`
	P50        float64 `json:"p50"`
	P99        float64 `json:"p99"`
	P999       float64 `json:"p999"`
	Late999    float64 `json:"generatorLateP999,omitempty"`
}

func measurementOf(r *load.Result, round int) measurement {
	keys := float64(max(r.Keys, 1))
	at := func(h *hdrhistogram.Histogram, percentile float64) float64 {
		return float64(h.ValueAtQuantile(percentile)) / 1e3
	}
	return measurement{
		Round: round + 1, Requests: r.Requests, Keys: r.Keys, Misses: r.Misses, Seconds: r.Elapsed.Seconds(),
		Throughput: keys / r.Elapsed.Seconds(),
		CPU:        r.ServerCPU.Seconds() * 1e6 / keys, Busy: r.ServerCPU.Seconds() / r.Elapsed.Seconds(),
		Generator: r.GeneratorCPU.Seconds() * 1e6 / keys,
		P50:       at(r.Latency, 50), P99: at(r.Latency, 99), P999: at(r.Latency, 99.9), Late999: at(r.Late, 99.9),
	}
}

// outcome is all rounds of one scenario on one server.
type outcome struct {
	Rounds   []measurement     `json:"rounds"`
	Failures []string          `json:"failures,omitempty"`
	Figures  map[string]spread `json:"figures"`
	Ratios   map[string]spread `json:"ratios,omitempty"` // to the reference, round by round
}

// chapter is one scenario.
type chapter struct {
	Name    string              `json:"name"`
	About   string              `json:"about"`
	Metric  metric              `json:"metric,omitempty"`
	Target  float64             `json:"target,omitempty"`
	Servers map[string]*outcome `json:"servers"`
}

// machine is where it was measured.
type machine struct {
	CPU      string  `json:"cpu"`
	CPUs     int     `json:"cpus"`
	Memory   uint64  `json:"memoryBytes"`
	Kernel   string  `json:"kernel"`
	Arch     string  `json:"arch"`
	LoadMean float64 `json:"loadAtStart"`
}

// report is everything that was measured.
type report struct {
	Started    time.Time         `json:"started"`
	Seconds    float64           `json:"seconds"`
	Machine    machine           `json:"machine"`
	Layout     layout            `json:"processors"`
	Threads    int               `json:"threads"`
	Versions   map[string]string `json:"versions"`
	Saturation []float64         `json:"saturation"` // requests a second of the reference, closed loop
	Scenarios  []*chapter        `json:"scenarios"`
	Extras     []*extra          `json:"extras,omitempty"`

	order []string // names of the servers
}

func newReport(ctx context.Context, o *options) *report {
	r := &report{
		Started: time.Now(), Machine: thisMachine(), Layout: o.layout, Threads: o.threads, Versions: map[string]string{},
	}
	for _, p := range o.programs {
		r.order = append(r.order, p.Name)
		out, err := exec.CommandContext(ctx, p.Path, "-V").Output()
		if err != nil {
			out = []byte("unknown: " + err.Error())
		}
		r.Versions[p.Name] = strings.TrimSpace(string(out))
	}
	return r
}

func thisMachine() machine {
	m := machine{CPUs: runtime.NumCPU(), Arch: runtime.GOARCH}
	info, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(info)) {
		if name, value, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			m.CPU = strings.TrimSpace(value)
			break
		}
	}
	var name unix.Utsname
	if unix.Uname(&name) == nil {
		m.Kernel = unix.ByteSliceToString(name.Release[:])
	}
	var sys unix.Sysinfo_t
	if unix.Sysinfo(&sys) == nil {
		const loadUnit = 1 << 16
		m.Memory = sys.Totalram * uint64(sys.Unit)
		m.LoadMean = float64(sys.Loads[0]) / loadUnit
	}
	return m
}

func (r *report) add(s scenario) {
	r.Scenarios = append(r.Scenarios, &chapter{
		Name: s.name, About: s.about, Metric: s.metric, Target: s.target, Servers: map[string]*outcome{},
	})
}

func (r *report) outcome(scenario, server string) *outcome {
	for _, c := range r.Scenarios {
		if c.Name != scenario {
			continue
		}
		if c.Servers[server] == nil {
			c.Servers[server] = &outcome{}
		}
		return c.Servers[server]
	}
	return &outcome{}
}

func (r *report) record(scenario, server string, m measurement) {
	if scenario == saturation && server == reference {
		r.Saturation = append(r.Saturation, m.Throughput)
	}
	o := r.outcome(scenario, server)
	o.Rounds = append(o.Rounds, m)
}

func (r *report) fail(scenario, server string, err error) {
	o := r.outcome(scenario, server)
	o.Failures = append(o.Failures, err.Error())
}

func (r *report) failed() bool {
	for _, c := range r.Scenarios {
		for _, o := range c.Servers {
			if len(o.Failures) > 0 {
				return true
			}
		}
	}
	for _, e := range r.Extras {
		if len(e.Failures) > 0 {
			return true
		}
	}
	return false
}

// saturation is the rate that the reference reached so far, or 0.
func (r *report) saturation() float64 { return spreadOf(r.Saturation).Median }

// shown are the figures that are summarised, by their names in the output.
var shown = []struct {
	name string
	of   func(measurement) float64
}{
	{"serverCPUPerKey", func(m measurement) float64 { return m.CPU }},
	{"keysPerSecond", func(m measurement) float64 { return m.Throughput }},
	{"p50", func(m measurement) float64 { return m.P50 }},
	{"p99", func(m measurement) float64 { return m.P99 }},
	{"p999", func(m measurement) float64 { return m.P999 }},
	{"generatorCPUPerKey", func(m measurement) float64 { return m.Generator }},
	{"generatorLateP999", func(m measurement) float64 { return m.Late999 }},
	{"serverCPUShare", func(m measurement) float64 { return m.Busy }},
}

// summarise computes medians, spreads and ratios.
func (r *report) summarise() {
	for _, e := range r.Extras {
		e.summarise()
	}
	for _, c := range r.Scenarios {
		for name, o := range c.Servers {
			o.Figures, o.Ratios = map[string]spread{}, map[string]spread{}
			for _, f := range shown {
				mine := byRound(o, f.of)
				o.Figures[f.name] = spreadOf(valuesOf(mine))
				if base := c.Servers[reference]; base != nil && name != reference {
					o.Ratios[f.name] = spreadOf(ratios(mine, byRound(base, f.of)))
				}
			}
		}
	}
}

func byRound(o *outcome, of func(measurement) float64) map[int]float64 {
	out := make(map[int]float64, len(o.Rounds))
	for _, m := range o.Rounds {
		out[m.Round] = of(m)
	}
	return out
}

func valuesOf(m map[int]float64) []float64 {
	out := make([]float64, 0, len(m))
	for _, v := range m {
		out = append(out, v)
	}
	return out
}

// write prints the report.
func (r *report) write(w io.Writer, format string) error {
	r.summarise()
	if format == "json" {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		if err := e.Encode(r); err != nil {
			return fmt.Errorf("write the report: %w", err)
		}
		return nil
	}
	return r.writeTable(w)
}
