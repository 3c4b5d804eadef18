// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/memkeep/memkeep/api/v1alpha1"
)

func TestBadFlagsAreRefusedWithASentence(t *testing.T) {
	const image = "--cache-image=registry.example/cache-server:v1"
	tests := map[string]struct {
		args []string
		want string
	}{
		"no image":                      {nil, "--cache-image is required"},
		"an image with a blank":         {[]string{"--cache-image=a b"}, "an image has no blanks"},
		"a pull policy that is none":    {[]string{image, "--image-pull-policy=Sometimes"}, "write Always, IfNot"},
		"a secret that is none":         {[]string{image, "--image-pull-secrets=ok,No!"}, `"No!" is not a Secret's name`},
		"a namespace that is none":      {[]string{image, "--watch-namespaces=ok,No!"}, `"No!" is not a namespace's name`},
		"a log format that is none":     {[]string{image, "--log-format=xml"}, "write json or text"},
		"an address that is none":       {[]string{image, "--metrics-bind-address=8443"}, "write host:port, :port or 0"},
		"no namespace for the lease":    {[]string{image, "--leader-elect"}, "--leader-elect needs"},
		"a certificate that is missing": {[]string{image, "--metrics-cert-path=/nowhere"}, "--metrics-cert-path"},
		"a stray argument":              {[]string{image, "run"}, `unexpected argument "run"`},
		"a flag that is none":           {[]string{"--nope"}, "not defined"},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := parse(c.args, func(string) string { return "" }, io.Discard)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestTheEnvironmentFillsIn(t *testing.T) {
	env := map[string]string{"CACHE_IMAGE": "registry.example/cache-server:v1", "POD_NAMESPACE": "caching-system"}
	o, err := parse([]string{"--leader-elect", "--watch-namespaces=a, b,,c"},
		func(key string) string { return env[key] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.settings().CacheImage != env["CACHE_IMAGE"] || o.leaderElectionNamespace != "caching-system" {
		t.Errorf("options are %+v", o)
	}
	if got := strings.Join(o.ownNamespaces(), " "); got != "caching-system caching-system-outsider" {
		t.Errorf("own namespaces are %s", got)
	}
	if got := o.watchNamespaces.String(); got != "a,b,c" {
		t.Errorf("watched are %s", got)
	}
	if cached := managerOptions(o).Cache.DefaultNamespaces; len(cached) != 3 {
		t.Errorf("cached are %v", cached)
	}
}

func TestHelpNamesEveryFlagAndTheVersionNeedsNone(t *testing.T) {
	var out bytes.Buffer
	if _, err := parse([]string{"--help"}, func(string) string { return "" }, &out); err == nil {
		t.Error("help is no run")
	}
	for _, name := range []string{
		"-cache-image", "-image-pull-secrets", "-image-pull-policy", "-watch-namespaces", "-operator-namespace",
		"-leader-elect", "-leader-election-namespace", "-metrics-bind-address", "-metrics-cert-path",
		"-health-probe-bind-address", "-enable-http2", "-log-format", "-zap-log-level", "-version",
	} {
		if !strings.Contains(out.String(), name+" ") && !strings.Contains(out.String(), name+"\n") {
			t.Errorf("help does not name %s", name)
		}
	}
	o, err := parse([]string{"--version"}, func(string) string { return "" }, io.Discard)
	if err != nil || !o.showVersion {
		t.Errorf("version: %v", err)
	}
}

func TestEveryCachedKindButMemcacheIsScopedByLabel(t *testing.T) {
	o, err := parse([]string{"--cache-image=a"}, func(string) string { return "" }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	options := managerOptions(o)
	if m := options.Metrics; !options.Cache.ReaderFailOnMissingInformer || !m.SecureServing || m.FilterProvider == nil {
		t.Error("the manager is too open")
	}
	for object, scope := range options.Cache.ByObject {
		_, own := object.(*v1alpha1.Memcache)
		if own != (scope.Label == nil) {
			t.Errorf("%T is cached by %v", object, scope.Label)
		}
	}
}

func TestTheLogIsOneObjectALineWithAReadableTime(t *testing.T) {
	o, err := parse([]string{"--cache-image=a"}, func(string) string { return "" }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	o.logger(&out).Info("Hello", "key", "value")
	var line struct {
		TS  time.Time `json:"ts"`
		Msg string    `json:"msg"`
		Key string    `json:"key"`
	}
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Msg != "Hello" || line.Key != "value" {
		t.Errorf("line is %s: %v", out.String(), err)
	}
}
