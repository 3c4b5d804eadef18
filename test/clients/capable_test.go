// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build clients

package clients

import (
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/test/lane"
	"github.com/memkeep/memkeep/test/process"
)

// TestLibmemcachedsOwnChecks runs memccapable, which checks every command of both protocols, against both servers.
func TestLibmemcachedsOwnChecks(t *testing.T) {
	out, err := exec.Command("../../hack/debs.sh", "libmemcached-tools").Output()
	if err != nil {
		lane.Lacks(t, "libmemcached-tools cannot be had: %v", err)
	}
	memccapable := filepath.Join(strings.TrimSpace(string(out)), "wrapped", "memccapable")
	for name, binary := range map[string]string{"memcached": process.MustMemcached(t), "memkeep": ours} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			host, port, err := net.SplitHostPort(startServer(t, process.MustFreeAddress(t), binary))
			if err != nil {
				t.Fatal(err)
			}
			out, err := exec.CommandContext(t.Context(), memccapable, "-h", host, "-p", port, "-t", "20").CombinedOutput()
			if n := strings.Count(string(out), "[pass]"); err != nil || n < 54 {
				t.Errorf("%d checks passed, %v:\n%s", n, err, out)
			}
		})
	}
}
