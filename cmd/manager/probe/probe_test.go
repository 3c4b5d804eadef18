// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package probe

import (
	"errors"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/memkeep/memkeep/cache-server/controlapi"
)

func TestAProberThatWouldGuessDoesNotStart(t *testing.T) {
	tests := map[string]struct {
		args []string
		env  map[string]string
		want string
	}{
		"without a role":             {nil, nil, "write decoy, outsider, client or stranger"},
		"with a role that is none":   {[]string{"spy"}, nil, "write decoy, outsider, client or stranger"},
		"with a stray argument":      {[]string{"decoy", "x"}, nil, `unexpected argument "x"`},
		"without addresses":          {[]string{"decoy"}, nil, "status.podIPs"},
		"with a wildcard":            {[]string{"decoy"}, map[string]string{"POD_IPS": "0.0.0.0"}, "a wildcard"},
		"with loopback":              {[]string{"decoy"}, map[string]string{"POD_IPS": "10.0.0.1,::1"}, "a loopback address"},
		"with a foreign address":     {[]string{"decoy"}, map[string]string{"POD_IPS": "192.0.2.77"}, "listen on port 11211"},
		"as an outsider without UID": {[]string{"outsider"}, map[string]string{"POD_IPS": "10.0.0.1"}, "POD_UID"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			err := Run(t.Context(), c.args, func(key string) string { return c.env[key] }, "test", io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestAnOutsiderDialsNoMoreThanItMay(t *testing.T) {
	d := newDialler()
	target := controlapi.Target{Network: "tcp", Address: "127.0.0.1:11211", TimeoutMillis: 100}
	for _, n := range []int{0, controlapi.MaxTargets + 1} {
		_, err := d.dial(t.Context(), &controlapi.Dial{Targets: make([]controlapi.Target, n)})
		if !errors.Is(err, controlapi.ErrInvalid) || !strings.Contains(err.Error(), "targets") {
			t.Errorf("%d targets: %v", n, err)
		}
	}
	got, err := d.dial(t.Context(), &controlapi.Dial{Targets: []controlapi.Target{target}})
	if err != nil || len(got.Results) != 1 || got.Results[0].Outcome != controlapi.Failed {
		t.Errorf("loopback was dialled: %+v, %v", got, err)
	}
}

// TestAProberCarriesNothingOfTheManager looks at what the package is made of:
// whatever it imported would start with each prober.
func TestAProberCarriesNothingOfTheManager(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", ".").Output()
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(out)) {
		name := strings.TrimSpace(line)
		if strings.Contains(name, "k8s.io") || strings.HasPrefix(name, "github.com/memkeep/memkeep/controllers") ||
			strings.HasPrefix(name, "github.com/memkeep/memkeep/api") {
			t.Errorf("imports %s", name)
		}
	}
}
