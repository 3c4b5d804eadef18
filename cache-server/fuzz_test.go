// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"testing"

	"github.com/memkeep/memkeep/cache-server/server"
)

// FuzzStartWords gives the parsers of what a cache is started with the same words. Whatever is accepted binds
// no address that others than the pod network reach, and no size or command that nobody wrote.
func FuzzStartWords(f *testing.F) {
	for _, words := range []string{
		"10.0.0.7", "10.0.0.7,fd00::7", "::ffff:127.0.0.1", "0.0.0.0", "::", "fe80::1%eth0", "224.0.0.1", "10.0.0.7,",
		"1m", "64", "4G", "9223372036854775807g", "-1", "k", "FlushAll,StatsConns", "flushall", ",", "",
	} {
		f.Add(words)
	}
	f.Fuzz(func(t *testing.T, words string) {
		addrs, err := parsePodIPs(words)
		if (err == nil) != (len(addrs) > 0) {
			t.Fatalf("%q gives addresses %v and error %v", words, addrs, err)
		}
		for i, a := range addrs {
			if a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a.Is4In6() || a.Zone() != "" {
				t.Fatalf("%q gives %v to bind", words, a)
			}
			if slices.Contains(addrs[:i], a) {
				t.Fatalf("%q gives %v twice", words, a)
			}
		}
		if n, err := parseSize(words); err == nil && n < 1 {
			t.Fatalf("%q is %d bytes", words, n)
		}
		if n, err := parsePort(words); err == nil && (n < 1 || n > 65535) {
			t.Fatalf("%q is port %d", words, n)
		}
		commands, err := server.ParseAdminCommands(words)
		if err == nil && words == "" && len(commands) > 0 {
			t.Fatalf("no word allows %v", commands)
		}
	})
}
