// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

func TestACacheDialsNothingButADecoysPort(t *testing.T) {
	for address, want := range map[string]string{
		"10.244.0.1:6443":       "no port that is dialled",
		"10.244.0.1:9150":       "no port that is dialled",
		"127.0.0.1:11211":       "loopback",
		"169.254.169.254:11211": "link-local",
		"example.org:11211":     "not an IP address",
	} {
		got, err := newEgress().try(t.Context(), &controlapi.Egress{Address: address, TimeoutMillis: 100})
		if err != nil || got.Outcome != controlapi.Failed || !strings.Contains(got.Error, want) {
			t.Errorf("%s: %+v, %v", address, got, err)
		}
	}
}

func TestACacheTriesToGetOutOnceInAWhile(t *testing.T) {
	e := newEgress()
	to := &controlapi.Egress{Address: "127.0.0.1:11211", TimeoutMillis: 100}
	start := time.Now()
	for range 2 {
		if _, err := e.try(t.Context(), to); err != nil {
			t.Fatal(err)
		}
	}
	if took := time.Since(start); took < egressPause {
		t.Errorf("two tries took %s", took)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := e.try(ctx, to); err == nil {
		t.Error("a third was made for somebody who had gone")
	}
}
