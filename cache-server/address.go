// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// parsePodIPs reads the addresses that a pod may bind, as the downward API writes status.podIPs.
func parsePodIPs(list string) ([]netip.Addr, error) {
	if strings.TrimSpace(list) == "" {
		return nil, errors.New("POD_IPS is empty: set it from the downward API's status.podIPs")
	}
	var addrs []netip.Addr
	for text := range strings.SplitSeq(list, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("POD_IPS holds %q, which is no IP address", text)
		}
		addr = addr.Unmap()
		if reason := notAPodAddress(addr); reason != "" {
			return nil, fmt.Errorf("POD_IPS holds %s, which is %s and no address of a pod", addr, reason)
		}
		if slices.Contains(addrs, addr) {
			return nil, fmt.Errorf("POD_IPS holds %s twice", addr)
		}
		addrs = append(addrs, addr)
	}
	return addrs, nil
}

// notAPodAddress names what keeps an address from being a pod's own.
func notAPodAddress(addr netip.Addr) string {
	switch {
	case addr.IsUnspecified():
		return "a wildcard"
	case addr.IsLoopback():
		return "a loopback address"
	case addr.IsMulticast():
		return "a multicast address"
	case addr.IsLinkLocalUnicast():
		return "a link-local address"
	case addr.Zone() != "":
		return "an address with a zone"
	case addr == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "the broadcast address"
	default:
		return ""
	}
}

// standaloneAddresses resolves what -l says, host by host, and refuses what strangers could reach unless
// expose is set. A host may carry a port of its own.
func standaloneAddresses(ctx context.Context, hosts []string, port int, expose bool,
) ([]netip.AddrPort, error) {
	var all []netip.AddrPort
	for _, host := range hosts {
		addrs, err := resolveHost(ctx, host, port)
		if err != nil {
			return nil, err
		}
		for _, addr := range addrs {
			if reason := exposure(addr.Addr()); reason != "" && !expose {
				return nil, fmt.Errorf("refuse to listen on %s: it is %s, and a cache that strangers reach "+
					"is read by strangers: bind a private address, or give --expose if something else "+
					"keeps them out", addr.Addr(), reason)
			}
			if !slices.Contains(all, addr) {
				all = append(all, addr)
			}
		}
	}
	return all, nil
}

// exposure says why an address is open to strangers, or returns "".
func exposure(addr netip.Addr) string {
	switch {
	case addr.IsUnspecified():
		return "a wildcard, every address of this machine"
	case addr.IsLoopback(), addr.IsPrivate(), addr.IsLinkLocalUnicast():
		return ""
	default:
		return "a public address"
	}
}

// resolveHost reads host, host:port or [host]:port. The empty host and * are the wildcard, as in memcached.
func resolveHost(ctx context.Context, host string, port int) ([]netip.AddrPort, error) {
	host = strings.TrimSpace(host)
	if host == "" || host == "*" {
		host = netip.IPv4Unspecified().String()
	}
	if addr, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return []netip.AddrPort{netip.AddrPortFrom(addr.Unmap(), uint16(port))}, nil
	}
	if name, ownPort, err := net.SplitHostPort(host); err == nil {
		n, err := parsePort(ownPort)
		if err != nil {
			return nil, fmt.Errorf("address %q: %w", host, err)
		}
		if name == "" {
			return nil, fmt.Errorf("address %q names no host", host)
		}
		return resolveHost(ctx, name, n)
	}
	names, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return nil, fmt.Errorf("resolve address %q: %w", host, err)
	}
	var addrs []netip.AddrPort
	for _, name := range names {
		addr, err := netip.ParseAddr(name)
		if err != nil {
			return nil, fmt.Errorf("resolve address %q: %w", host, err)
		}
		addrs = append(addrs, netip.AddrPortFrom(addr.Unmap(), uint16(port)))
	}
	return addrs, nil
}
