// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import (
	"math"
	"strconv"
	"strings"
)

// Replies to meta commands, without their flags where they have some.
const (
	ReplyMetaNoop  = "MN\r\n"
	ReplyMetaEnd   = "EN\r\n"
	MetaHit        = "HD"
	MetaMiss       = "EN"
	MetaNotFound   = "NF"
	MetaNotStored  = "NS"
	MetaExists     = "EX"
	metaValue      = "VA "
	metaDebugLine  = "ME "
	binaryKeyToken = " b"
)

// MaxMetaHeader is the longest reply line of a meta command in bytes: base64 makes 4 bytes of 3, and each flag comes
// once.
const MaxMetaHeader = 64 + (MaxKeyLen+2)/3*4 + MaxOpaqueLen + 8*24

// Immortal is the TTL of what never expires.
const Immortal = math.MinInt64

// MetaItem is what a reply to a meta command may show of an item.
type MetaItem struct {
	// Key is the key. BinaryKey shows it in base64.
	Key       []byte
	BinaryKey bool
	Flags     uint32
	CAS       uint64
	// Size is the length of the value in bytes.
	Size int
	// TTL is how many seconds the item had before the command, or Immortal; TouchedTTL how many it has after a
	// T flag, and VivifiedTTL after an N flag that made it.
	TTL, TouchedTTL, VivifiedTTL int64
	Created                      bool
	// Idle is how many seconds ago the item was used before.
	Idle int64
	// Fetched tells that the item was read before.
	Fetched bool
	// WinSent, Stale and Won are shown as Z, X and W.
	WinSent, Stale, Won bool
}

// AppendMetaGet appends the line of a hit. Where the value is shown, it and a line end must follow.
func AppendMetaGet(dst []byte, r *Request, it *MetaItem, hasValue bool) []byte {
	if hasValue {
		dst = appendMetaSize(dst, it.Size)
	} else {
		dst = append(dst, MetaHit...)
	}
	dst = appendMetaFlags(dst, r.Meta.Flags, it, "kOstcflh")
	if it.WinSent {
		dst = append(dst, " Z"...)
	}
	if it.Stale {
		dst = append(dst, " X"...)
	}
	if it.Won {
		dst = append(dst, " W"...)
	}
	return append(dst, "\r\n"...)
}

// AppendMetaStored appends the reply to MetaSet.
func AppendMetaStored(dst []byte, r *Request, code string, it *MetaItem) []byte {
	dst = append(dst, code...)
	dst = appendMetaFlags(dst, r.Meta.Flags, it, "kOsc")
	return append(dst, "\r\n"...)
}

// AppendMetaNumber appends the reply to MetaArithmetic that has a number.
func AppendMetaNumber(dst []byte, r *Request, n uint64, it *MetaItem) []byte {
	var buf [20]byte
	digits := strconv.AppendUint(buf[:0], n, 10)
	if !r.Meta.Value {
		dst = append(dst, MetaHit...)
	} else {
		dst = appendMetaSize(dst, len(digits))
	}
	dst = appendMetaFlags(dst, r.Meta.Flags, it, "kOtc")
	dst = append(dst, "\r\n"...)
	if r.Meta.Value {
		dst = append(append(dst, digits...), "\r\n"...)
	}
	return dst
}

// AppendMetaCode appends a reply that tells nothing of an item.
func AppendMetaCode(dst []byte, r *Request, code string) []byte {
	dst = append(dst, code...)
	dst = appendMetaFlags(dst, r.Meta.Flags, &MetaItem{Key: r.Key, BinaryKey: r.Meta.Binary}, "kO")
	return append(dst, "\r\n"...)
}

// AppendMetaDebug appends the reply to MetaDebug. class and total are the slab class and size of the whole item.
func AppendMetaDebug(dst []byte, it *MetaItem, class, total int) []byte {
	dst = append(dst, metaDebugLine...)
	if it.BinaryKey {
		dst = appendEncoded(dst, it.Key)
	} else {
		dst = append(dst, it.Key...)
	}
	ttl := it.TTL
	if ttl == Immortal {
		ttl = -1
	}
	fetched := "no"
	if it.Fetched {
		fetched = "yes"
	}
	dst = strconv.AppendInt(append(dst, " exp="...), ttl, 10)
	dst = strconv.AppendInt(append(dst, " la="...), it.Idle, 10)
	dst = strconv.AppendUint(append(dst, " cas="...), it.CAS, 10)
	dst = append(append(dst, " fetch="...), fetched...)
	dst = strconv.AppendInt(append(dst, " cls="...), int64(class), 10)
	dst = strconv.AppendInt(append(dst, " size="...), int64(total), 10)
	return append(dst, "\r\n"...)
}

func appendMetaSize(dst []byte, size int) []byte {
	return strconv.AppendInt(append(dst, metaValue...), int64(size), 10)
}

// appendMetaFlags appends those of the flags that are shown, in the order of the request.
func appendMetaFlags(dst, flags []byte, it *MetaItem, shown string) []byte {
	ttl := it.TTL
	for word, rest := nextFlag(flags); len(word) > 0; word, rest = nextFlag(rest) {
		flag := word[0]
		switch {
		case flag == 'T':
			ttl = it.TouchedTTL
		case flag == 'N' && it.Created:
			ttl = it.VivifiedTTL
		case strings.IndexByte(shown, flag) < 0:
		case flag == 'O':
			dst = append(append(dst, ' '), word...)
		default:
			dst = appendMetaFlag(append(dst, ' ', flag), flag, it, ttl)
		}
	}
	return dst
}

func appendMetaFlag(dst []byte, flag byte, it *MetaItem, ttl int64) []byte {
	switch flag {
	case 'k':
		if it.BinaryKey {
			return append(appendEncoded(dst, it.Key), binaryKeyToken...)
		}
		return append(dst, it.Key...)
	case 's':
		return strconv.AppendInt(dst, int64(it.Size), 10)
	case 't':
		if ttl == Immortal {
			return append(dst, "-1"...)
		}
		return strconv.AppendUint(dst, uint64(uint32(ttl)), 10) // memcached shows what is past as 32 bits without sign
	case 'c':
		return strconv.AppendUint(dst, it.CAS, 10)
	case 'f':
		return strconv.AppendUint(dst, uint64(it.Flags), 10)
	case 'l':
		return strconv.AppendInt(dst, it.Idle, 10)
	default: // h
		if it.Fetched {
			return append(dst, '1')
		}
		return append(dst, '0')
	}
}
