// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package server

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
)

// exporterMetrics are what dashboards and alerts made for prometheus/memcached_exporter ask for:
// name, type, labels.
var exporterMetrics = []string{
	"memcached_accepting_connections gauge", "memcached_commands_total counter command,status",
	"memcached_connections_listener_disabled_total counter", "memcached_connections_rejected_total counter",
	"memcached_connections_total counter", "memcached_connections_yielded_total counter",
	"memcached_current_bytes gauge", "memcached_current_connections gauge", "memcached_current_items gauge",
	"memcached_direct_reclaims_total counter", "memcached_item_no_memory_total counter",
	"memcached_item_too_large_total counter", "memcached_items_evicted_total counter",
	"memcached_items_reclaimed_total counter", "memcached_items_total counter", "memcached_limit_bytes gauge",
	"memcached_lru_crawler_enabled gauge", "memcached_lru_crawler_items_checked_total counter",
	"memcached_lru_crawler_reclaimed_total counter", "memcached_lru_crawler_starts_total counter",
	"memcached_malloced_bytes gauge", "memcached_max_connections gauge",
	"memcached_process_system_cpu_seconds_total counter", "memcached_process_user_cpu_seconds_total counter",
	"memcached_read_bytes_total counter", "memcached_slab_chunk_size_bytes gauge slab",
	"memcached_slab_chunks_free gauge slab", "memcached_slab_chunks_per_page gauge slab",
	"memcached_slab_chunks_used gauge slab", "memcached_slab_commands_total counter command,slab,status",
	"memcached_slab_current_chunks gauge slab", "memcached_slab_current_items gauge slab",
	"memcached_slab_current_pages gauge slab", "memcached_slab_items_age_seconds gauge slab",
	"memcached_slab_items_crawler_reclaimed_total counter slab",
	"memcached_slab_items_evicted_nonzero_total counter slab",
	"memcached_slab_items_evicted_time_seconds gauge slab", "memcached_slab_items_evicted_total counter slab",
	"memcached_slab_items_evicted_unfetched_total counter slab",
	"memcached_slab_items_expired_unfetched_total counter slab", "memcached_slab_items_outofmemory_total counter slab",
	"memcached_slab_items_reclaimed_total counter slab", "memcached_slab_lru_hits_total counter lru,slab",
	"memcached_slab_mem_requested_bytes gauge slab", "memcached_time_seconds gauge", "memcached_up gauge",
	"memcached_uptime_seconds counter", "memcached_version gauge version", "memcached_written_bytes_total counter",
}

func gather(t *testing.T, f *fixture) []*dto.MetricFamily {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	registry.MustRegister(NewCollector(f.Server, "v1.2.3"))
	families, err := registry.Gather()
	if err != nil {
		t.Fatalf("gather: %v", err)
	}
	return families
}

func TestMetricsAreTheExporters(t *testing.T) {
	var got []string
	f := start(t, nil)
	f.ask(t, "set k 0 0 1\r\nx\r\n")
	for _, family := range gather(t, f) {
		if !strings.HasPrefix(family.GetName(), "memcached_") {
			continue
		}
		line := family.GetName() + " " + strings.ToLower(family.GetType().String())
		var labels []string
		for _, label := range family.GetMetric()[0].GetLabel() {
			labels = append(labels, label.GetName())
		}
		if len(labels) > 0 {
			line += " " + strings.Join(labels, ",")
		}
		got = append(got, line)
	}
	slices.Sort(got)
	if !slices.Equal(got, exporterMetrics) {
		for _, line := range exporterMetrics {
			if !slices.Contains(got, line) {
				t.Errorf("%q is missing", line)
			}
		}
		for _, line := range got {
			if !slices.Contains(exporterMetrics, line) {
				t.Errorf("%q is not expected", line)
			}
		}
	}
}

func TestMetricsPassPrometheusLint(t *testing.T) {
	problems, err := promlint.NewWithMetricFamilies(gather(t, start(t, nil))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		// The exporter's names are what they are.
		if !strings.HasPrefix(p.Metric, "memcached_") {
			t.Errorf("%s: %s", p.Metric, p.Text)
		}
	}
}

// samples are the values of counters by name and labels.
func samples(families []*dto.MetricFamily) map[string]float64 {
	values := make(map[string]float64)
	for _, family := range families {
		for _, m := range family.GetMetric() {
			name := family.GetName()
			for _, label := range m.GetLabel() {
				name += " " + label.GetValue()
			}
			values[name] = m.GetCounter().GetValue()
		}
	}
	return values
}

func TestMetricsCountWhatHappens(t *testing.T) {
	f := start(t, nil)
	f.ask(t, "set k 0 0 1\r\n1\r\nget k none\r\nincr k 1\r\ncas k 0 0 1 1\r\nx\r\ncas none 0 0 1 1\r\nx\r\n"+
		"touch k 0\r\ndelete k\r\nflush_all\r\nset big 0 0 2000000\r\n"+strings.Repeat("v", 2_000_000)+"\r\n")
	f.ask(t, "GET / HTTP/1.0\r\n\r\n")
	eventually(t, "all are gone", func() bool { return f.numConns() == 0 })
	got := samples(gather(t, f))
	for name, want := range map[string]float64{
		"memcached_commands_total cas badval": 1, "memcached_commands_total cas hit": 0,
		"memcached_commands_total cas miss": 1, "memcached_commands_total decr hit": 0,
		"memcached_commands_total delete hit": 1, "memcached_commands_total delete miss": 0,
		"memcached_commands_total flush hit": 1, "memcached_commands_total get hit": 1,
		"memcached_commands_total get miss": 1, "memcached_commands_total incr hit": 1,
		"memcached_commands_total set hit": 1, "memcached_commands_total touch hit": 1,
		"memcached_connections_total": 2, "memcached_item_too_large_total": 1,
		"memkeep_cache_connections_closed_total foreign_protocol": 1,
		"memkeep_cache_connections_closed_total panic":            0,
		"memkeep_cache_connections_refused_total own_address":     0,
		"memcached_slab_commands_total set 1 hit":                 2, // a cas that finds nothing is one too
		"memcached_slab_commands_total get 1 hit":                 1,
		"memcached_slab_commands_total delete 1 hit":              1,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v (there: %v), want %v", name, value, ok, want)
		}
	}
}

func TestMonitorAnswers(t *testing.T) {
	f := start(t, nil)
	m := NewMonitor(f.Server, "v1.2.3")
	status := func(method, path string) (int, string) {
		recorder := httptest.NewRecorder()
		m.http.Handler.ServeHTTP(recorder, httptest.NewRequest(method, path, nil))
		return recorder.Code, recorder.Body.String()
	}
	for path, want := range map[string]int{
		"/healthz": 200, "/readyz": 200, "/metrics": 200, "/": 404, "/debug/pprof/": 404,
	} {
		if got, _ := status(http.MethodGet, path); got != want {
			t.Errorf("%s: got %d, want %d", path, got, want)
		}
	}
	if got, _ := status(http.MethodPost, "/metrics"); got != http.StatusMethodNotAllowed {
		t.Errorf("posting to /metrics: got %d", got)
	}
	if _, body := status(http.MethodGet, "/metrics"); !strings.Contains(body, `memkeep_cache_build_info{`) {
		t.Error("the build is not among the metrics")
	}
	drain(t, f, nil)
	if got, _ := status(http.MethodGet, "/readyz"); got != http.StatusServiceUnavailable {
		t.Errorf("/readyz while draining: got %d", got)
	}
	if got, _ := status(http.MethodGet, "/healthz"); got != http.StatusOK {
		t.Errorf("/healthz while draining: got %d", got)
	}
}

func TestMonitorStops(t *testing.T) {
	m := NewMonitor(start(t, nil).Server, "v1.2.3")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- m.Serve(l) }()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, "GET /healthz HTTP/1.0\r\n\r\n")
	if got, err := io.ReadAll(conn); err != nil || !strings.HasSuffix(string(got), "ok\n") {
		t.Errorf("got %q, %v", got, err)
	}
	_ = conn.Close()
	if err := m.Shutdown(t.Context()); err != nil {
		t.Errorf("shutdown: %v", err)
	}
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
}
