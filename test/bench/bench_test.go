// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/test/process"
)

func TestSpreads(t *testing.T) {
	rows := []struct {
		name    string
		figures []float64
		want    spread
	}{
		{"none", nil, spread{}},
		{"one", []float64{3}, spread{3, 3, 3, 1}},
		{"an odd number", []float64{5, 1, 3}, spread{3, 1, 5, 3}},
		{"an even number", []float64{4, 1, 3, 2}, spread{2.5, 1, 4, 4}},
	}
	for _, row := range rows {
		if got := spreadOf(row.figures); got != row.want {
			t.Errorf("%s: %+v, want %+v", row.name, got, row.want)
		}
	}
}

func TestRatiosAreOfTheSameRound(t *testing.T) {
	got := ratios(map[int]float64{1: 2, 2: 9, 3: 4, 4: math.NaN(), 5: 1}, map[int]float64{1: 4, 3: 2, 4: 1, 5: 0, 6: 7})
	slices.Sort(got)
	if !slices.Equal(got, []float64{0.5, 2}) {
		t.Errorf("the ratios are %v, want 0.5 and 2", got)
	}
}

func TestServersAndGeneratorHaveProcessorsOfTheirOwn(t *testing.T) {
	rows := []struct {
		name               string
		usable             []int
		threads            int
		servers, generator []int // nil where it is refused
	}{
		{"two of two", []int{0, 1}, 1, []int{0}, []int{1}},
		{"the first that may be used", []int{3, 5, 7}, 1, []int{3}, []int{7}},
		{"two threads on four", []int{0, 1, 2, 3}, 2, []int{0, 1}, []int{2, 3}},
		{"two threads on three", []int{0, 1, 2}, 2, []int{0, 1}, []int{2}},
		{"two threads on two share one", []int{0, 1}, 2, []int{0, 1}, []int{1}},
		{"one processor is too few", []int{0}, 1, nil, nil},
	}
	for _, row := range rows {
		got, err := divide(row.usable, row.threads)
		if (err != nil) != (row.servers == nil) {
			t.Errorf("%s: %v", row.name, err)
		}
		if !slices.Equal(got.Servers, row.servers) || !slices.Equal(got.Generator, row.generator) {
			t.Errorf("%s: %+v", row.name, got)
		}
	}
}

func TestReportsRatiosAndVerdicts(t *testing.T) {
	r := &report{order: []string{reference, ours}}
	r.add(scenario{name: saturation, metric: perKey, target: 0.7})
	for round := range 3 {
		r.record(saturation, reference, measurement{Round: round, CPU: 10, Throughput: 1000, P999: 50})
		r.record(saturation, ours, measurement{Round: round, CPU: 8 + float64(round), Throughput: 2000, P999: 25})
	}
	if r.saturation() != 1000 {
		t.Errorf("saturation is %g, want the reference's 1000", r.saturation())
	}
	var out bytes.Buffer
	if err := r.write(&out, "table"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"0.90 [0.80-1.00]", "2.00 [2.00-2.00]", "0.50 [0.50-0.50]", "MISSED by 29 %"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table lacks %q:\n%s", want, out.String())
		}
	}
	if r.failed() {
		t.Error("it counts as failed")
	}
	r.fail(saturation, ours, os.ErrInvalid)
	if !r.failed() {
		t.Error("a wrong reply does not count as failed")
	}
}

func TestCommandLine(t *testing.T) {
	rows := []struct {
		name string
		args []string
		code int
		want string // on either stream
	}{
		{"help", []string{"-help"}, 0, "Usage: bench"},
		{"list", []string{"-list"}, 0, "multiget-100"},
		{"an unknown flag", []string{"-x"}, 2, "not defined"},
		{"an argument", []string{"fast"}, 2, "unexpected argument"},
		{"a format that is none", []string{"-o", "xml"}, 2, "table or json"},
		{"no rounds", []string{"-rounds", "-1"}, 2, "-rounds"},
		{"an expression that is none", []string{"-run", "("}, 2, "-run"},
		{"a server that is not there", []string{"-server", "/nowhere"}, 2, "/nowhere"},
		{"a peer whose name is taken", []string{"-peer", "memcached=/bin/true"}, 2, "already"},
	}
	for _, row := range rows {
		t.Run(row.name, func(t *testing.T) {
			var out bytes.Buffer
			if code := run(t.Context(), row.args, &out, &out); code != row.code {
				t.Errorf("exit code %d, want %d", code, row.code)
			}
			if !strings.Contains(out.String(), row.want) {
				t.Errorf("it says %q, want something with %q", out.String(), row.want)
			}
		})
	}
}

// TestSmoke measures for a moment, with real servers. It judges no figure, only that they are there.
func TestSmoke(t *testing.T) {
	memcached := process.MustMemcached(t)
	mine, err := process.Build(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var out, log bytes.Buffer
	code := run(t.Context(), []string{
		"-server", mine, "-memcached", memcached, "-peer", "again=" + memcached, "-rounds", "2", "-time", "250ms",
		"-keys", "2000", "-run", "^(get90-d1|multiget-16|set-d60|open-60)$", "-o", "json",
	}, &out, &log)
	if code != 0 {
		t.Fatalf("exit code %d: %s\n%s", code, log.String(), out.String())
	}
	var r report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	if len(r.Scenarios) != 4 || len(r.Saturation) != 2 {
		t.Fatalf("%d scenarios and %d rates, want 4 and 2", len(r.Scenarios), len(r.Saturation))
	}
	for _, c := range r.Scenarios {
		for _, name := range []string{ours, reference, "again"} {
			o := c.Servers[name]
			if o == nil || len(o.Rounds) != 2 || o.Figures["serverCPUPerKey"].Median <= 0 || o.Figures["p999"].Median <= 0 {
				t.Errorf("%s on %s measured %+v", c.Name, name, o)
			}
			if name != reference && o != nil && o.Ratios["serverCPUPerKey"].Rounds != 2 {
				t.Errorf("%s on %s has the ratios %+v", c.Name, name, o.Ratios)
			}
		}
	}
}
