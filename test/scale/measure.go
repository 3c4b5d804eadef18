// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// ticks is how many of the kernel's clock ticks are a second, in /proc.
const ticks = 100

// sample is what the operator has used since it began.
type sample struct {
	at       time.Time
	cpu      time.Duration
	rss      int64
	requests map[string]float64
}

// row is what was measured at a number of fleets.
type row struct {
	fleets, made int
	// creation is from the first object's creation to the last fleet's readiness; rest is a time without changes.
	creation, rest span
	rss            int64
}

// span is what was used in between two samples.
type span struct {
	took     time.Duration
	cpu      time.Duration
	requests map[string]float64
}

func between(a, b sample) span {
	s := span{took: b.at.Sub(a.at), cpu: b.cpu - a.cpu, requests: map[string]float64{}}
	for method, n := range b.requests {
		s.requests[method] = n - a.requests[method]
	}
	return s
}

// measure grows to n fleets, then watches the operator at rest.
func (w *world) measure(ctx context.Context, n int) (row, error) {
	r := row{fleets: n, made: n - w.fleets}
	before, err := w.sample(ctx)
	if err != nil {
		return r, err
	}
	if err := w.grow(ctx, n); err != nil {
		return r, err
	}
	grown, err := w.sample(ctx)
	if err != nil {
		return r, err
	}
	r.creation = between(before, grown)
	fmt.Fprintf(os.Stderr, "%d fleets ready after %.0f s; at rest for %s\n", n, r.creation.took.Seconds(), w.rest)
	time.Sleep(w.settle)
	begin, err := w.sample(ctx)
	if err != nil {
		return r, err
	}
	time.Sleep(w.rest)
	end, err := w.sample(ctx)
	if err != nil {
		return r, err
	}
	r.rest, r.rss = between(begin, end), end.rss
	return r, nil
}

// sample reads what the operator has used.
func (w *world) sample(ctx context.Context) (s sample, err error) {
	if s.requests, err = w.requests(ctx); err != nil {
		return s, err
	}
	s.at = time.Now()
	if s.rss, err = w.manager.RSS(); err != nil {
		return s, err
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.manager.Pid()))
	if err != nil {
		return s, err
	}
	s.cpu, err = parseCPU(string(stat))
	return s, err
}

// parseCPU adds a process's user and system time, the 14th and 15th fields of its
// stat. The second is a name in parentheses that may hold anything.
func parseCPU(stat string) (time.Duration, error) {
	fields := strings.Fields(stat[strings.LastIndex(stat, ")")+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("a process's stat is %q", stat)
	}
	var sum int64
	for _, field := range fields[11:13] {
		n, err := strconv.ParseInt(field, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("a process's stat is %q: %w", stat, err)
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticks, nil
}

// requests reads how many requests the operator has sent to the API server, by method.
func (w *world) requests(ctx context.Context) (map[string]float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+w.metrics+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+w.token)
	// The operator's serving certificate is its own.
	https := &http.Client{Timeout: 20 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true},
	}}
	resp, err := https.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("GET /metrics: %s: %.200s", resp.Status, body)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	sum := map[string]float64{}
	for _, m := range families["rest_client_requests_total"].GetMetric() {
		for _, pair := range m.Label {
			if pair.GetName() == "method" {
				sum[pair.GetValue()] += m.GetCounter().GetValue()
			}
		}
	}
	return sum, nil
}

// write prints the table as markdown, which is read as text, too.
func write(out io.Writer, at time.Time, rows []row) {
	host, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	cores, _ := os.ReadFile("/proc/cpuinfo")
	fmt.Fprintf(out, "%s, Linux %s, %d CPUs shared with the API server, etcd, Kubernetes' controllers and kwok\n\n",
		at.UTC().Format("2006-01-02 15:04"), strings.TrimSpace(string(host)), bytes.Count(cores, []byte("processor\t")))
	t := tabwriter.NewWriter(out, 0, 0, 1, ' ', 0)
	fmt.Fprintln(t, "| fleets of 3\t| made in\t| operator CPU, making them\t| a fleet\t| requests, making them\t| a fleet"+
		"\t| operator CPU, a minute at rest\t| requests, a minute at rest\t| RSS at rest\t|")
	fmt.Fprintln(t, "|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|---\t|")
	for _, r := range rows {
		c, rest := r.creation, r.rest
		made := float64(max(r.made, 1))
		minute := time.Minute.Seconds() / rest.took.Seconds()
		fmt.Fprintf(t, "| %d\t| %.0f s\t| %.2f s\t| %.0f ms\t| %.0f (%s)\t| %.1f\t| %.2f s\t| %.0f (%s)\t| %.0f MiB\t|\n",
			r.fleets, c.took.Seconds(), c.cpu.Seconds(), float64(c.cpu.Milliseconds())/made, total(c.requests),
			byMethod(c.requests, 1), total(c.requests)/made, rest.cpu.Seconds()*minute, total(rest.requests)*minute,
			byMethod(rest.requests, minute), float64(r.rss)/(1<<20))
	}
	_ = t.Flush()
}

func total(requests map[string]float64) float64 {
	sum := 0.0
	for _, n := range requests {
		sum += n
	}
	return sum
}

func byMethod(requests map[string]float64, times float64) string {
	var parts []string
	for _, method := range []string{"GET", "POST", "PATCH", "PUT", "DELETE"} {
		if n := requests[method]; n > 0 {
			parts = append(parts, fmt.Sprintf("%.0f %s", n*times, method))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
