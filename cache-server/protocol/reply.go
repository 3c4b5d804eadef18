// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import "strconv"

// Replies that stand for themselves, with their line end.
const (
	ReplyStored       = "STORED\r\n"
	ReplyNotStored    = "NOT_STORED\r\n"
	ReplyExists       = "EXISTS\r\n"
	ReplyNotFound     = "NOT_FOUND\r\n"
	ReplyDeleted      = "DELETED\r\n"
	ReplyTouched      = "TOUCHED\r\n"
	ReplyOK           = "OK\r\n"
	ReplyEnd          = "END\r\n"
	ReplyReset        = "RESET\r\n"
	ReplyError        = "ERROR\r\n"
	ReplyBadFormat    = problemFormat + "\r\n"
	ReplyBadChunk     = "CLIENT_ERROR bad data chunk\r\n"
	ReplyNonNumeric   = "CLIENT_ERROR cannot increment or decrement non-numeric value\r\n"
	ReplyDetailUsage  = "CLIENT_ERROR usage: stats detail on|off|dump\r\n"
	ReplyTooLarge     = "SERVER_ERROR object too large for cache\r\n"
	ReplyOutOfMemory  = "SERVER_ERROR out of memory storing object\r\n"
	ReplyNoMemory     = "SERVER_ERROR out of memory\r\n"
	ReplyReadMemory   = "SERVER_ERROR out of memory reading request\r\n"
	ReplyWriteMemory  = "SERVER_ERROR out of memory writing get response\r\n"
	ReplyTooManyConns = "ERROR Too many open connections\r\n"
	ReplyNoShutdown   = "SERVER_ERROR: shutdown not enabled\r\n"
	ReplyBadShutdown  = "CLIENT_ERROR invalid shutdown mode\r\n"
	ReplyNoWatch      = "CLIENT_ERROR watch commands not allowed\r\n"
	ReplyNoCrawler    = "CLIENT_ERROR lru crawler disabled\r\n"
	ReplyNoMetadump   = "ERROR metadump not allowed\r\n"
	ReplyNoMgdump     = "ERROR key dump not allowed\r\n"
	ReplyCrawlerBusy  = "BUSY currently processing crawler request\r\n"
	ReplyBadClass     = "BADCLASS invalid class id\r\n"
	ReplySleepLong    = "CLIENT_ERROR sleep must be one second or less\r\n"
	ReplyBadLine      = "CLIENT_ERROR bad command line\r\n"
	ReplyBadSlab      = "CLIENT_ERROR Illegal slab id\r\n"
	ReplyManyWatchers = "WATCHER_TOO_MANY log watcher limit reached\r\n"
	ReplyNoWatcher    = "WATCHER_FAILED failed to add log watcher\r\n"
	ReplyLimitSmall   = "MEMLIMIT_TOO_SMALL cannot set maxbytes to less than 8m\r\n"
	ReplyLimitUnit    = "MEMLIMIT_ADJUST_FAILED input value is megabytes not bytes\r\n"
	ReplyLimitFailed  = "MEMLIMIT_ADJUST_FAILED out of bounds or unable to adjust\r\n"
)

// AppendLine appends a reply of one line.
func AppendLine(dst []byte, line string) []byte {
	dst = append(dst, line...)
	return append(dst, "\r\n"...)
}

// AppendNumber appends the reply to incr and decr.
func AppendNumber(dst []byte, n uint64) []byte {
	dst = strconv.AppendUint(dst, n, 10)
	return append(dst, "\r\n"...)
}

// AppendNotAllowed appends the refusal of a command that the configuration does not allow.
func AppendNotAllowed(dst []byte, command string) []byte {
	dst = append(dst, "CLIENT_ERROR "...)
	dst = append(dst, command...)
	return append(dst, " not allowed\r\n"...)
}

// AppendPipelined appends the refusal of a command that must be the first of its batch.
func AppendPipelined(dst []byte, command string) []byte {
	dst = append(dst, "ERROR cannot pipeline other commands before "...)
	dst = append(dst, command...)
	return append(dst, "\r\n"...)
}

// AppendDumpedItem appends one line of stats cachedump. expires is in Unix seconds, 0 for never.
func AppendDumpedItem(dst, key []byte, size int, expires int64) []byte {
	dst = append(dst, "ITEM "...)
	dst = append(dst, key...)
	dst = append(dst, " ["...)
	dst = strconv.AppendInt(dst, int64(size), 10)
	dst = append(dst, " b; "...)
	dst = strconv.AppendInt(dst, expires, 10)
	return append(dst, " s]\r\n"...)
}

// AppendStat appends one line of statistics.
func AppendStat(dst []byte, name, value string) []byte {
	dst = append(dst, "STAT "...)
	dst = append(dst, name...)
	dst = append(dst, ' ')
	dst = append(dst, value...)
	return append(dst, "\r\n"...)
}

// AppendValueHeader appends the line before a value of the given size.
func AppendValueHeader(dst, key []byte, flags uint32, size int) []byte {
	dst = append(dst, "VALUE "...)
	dst = append(dst, key...)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, uint64(flags), 10)
	dst = append(dst, ' ')
	dst = strconv.AppendInt(dst, int64(size), 10)
	return append(dst, "\r\n"...)
}

// AppendValueHeaderCAS is AppendValueHeader with the item's CAS.
func AppendValueHeaderCAS(dst, key []byte, flags uint32, size int, cas uint64) []byte {
	dst = AppendValueHeader(dst, key, flags, size)
	dst = append(dst[:len(dst)-2], ' ')
	dst = strconv.AppendUint(dst, cas, 10)
	return append(dst, "\r\n"...)
}
