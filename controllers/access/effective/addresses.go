// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"net/netip"

	networkingv1 "k8s.io/api/networking/v1"
)

// anAddress is one that a block admits, and whether there is one. A block that
// cannot be read admits somebody for all that is known.
func anAddress(b *networkingv1.IPBlock) (netip.Addr, bool) {
	whole, err := netip.ParsePrefix(b.CIDR)
	if err != nil {
		return somewhere, true
	}
	var but []netip.Prefix
	for _, s := range b.Except {
		if p, err := netip.ParsePrefix(s); err == nil {
			but = append(but, p.Masked())
		}
	}
	return left(whole.Masked(), but)
}

// left is an address of p that is in none of but. It halves p where one of them
// is a part of it, so that it takes as many steps as they have bits.
func left(p netip.Prefix, but []netip.Prefix) (netip.Addr, bool) {
	inside := false
	for _, b := range but {
		if b.Overlaps(p) {
			if b.Bits() <= p.Bits() {
				return netip.Addr{}, false
			}
			inside = true
		}
	}
	if !inside {
		return p.Addr(), true
	}
	bytes := p.Addr().AsSlice()
	low := netip.PrefixFrom(p.Addr(), p.Bits()+1)
	bytes[p.Bits()/8] |= 0x80 >> (p.Bits() % 8)
	high, _ := netip.AddrFromSlice(bytes)
	if a, some := left(low, but); some {
		return a, true
	}
	return left(netip.PrefixFrom(high, p.Bits()+1), but)
}
