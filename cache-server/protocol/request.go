// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

// Limits of the text protocol.
const (
	// MaxKeyLen is the longest key in bytes.
	MaxKeyLen = 250
	// MaxLineLen is how many bytes may wait for their line end. Only get and gets may be longer.
	MaxLineLen = 2048
	// MaxRelativeExpiry is the largest expiry, in seconds, that counts from now: 30 days.
	// A larger one is a point in time in Unix seconds.
	MaxRelativeExpiry = 60 * 60 * 24 * 30
)

// Command names a request.
type Command uint8

// The commands of the text protocol.
const (
	// Unknown is a request that cannot be told apart; its Problem is the reply.
	Unknown Command = iota
	// Get reads values.
	Get
	// Gets reads values with their CAS.
	Gets
	// Gat reads values and changes their expiry.
	Gat
	// Gats reads values with their CAS and changes their expiry.
	Gats
	// Set stores a value.
	Set
	// Add stores a value if there is none.
	Add
	// Replace stores a value if there is one.
	Replace
	// Append puts bytes behind a value.
	Append
	// Prepend puts bytes before a value.
	Prepend
	// Cas stores a value if the stored one has the given CAS.
	Cas
	// Incr adds to a number.
	Incr
	// Decr subtracts from a number.
	Decr
	// Touch changes an expiry.
	Touch
	// Delete removes a value.
	Delete
	// FlushAll makes everything stored so far invalid.
	FlushAll
	// Version asks for the server's version.
	Version
	// Verbosity sets how much is logged.
	Verbosity
	// Stats asks for statistics.
	Stats
	// CacheMemlimit sets the budget of memory.
	CacheMemlimit
	// Shutdown asks the server to stop.
	Shutdown
	// Watch asks for a stream of the server's events.
	Watch
	// LRUCrawler steers or dumps through the crawler.
	LRUCrawler
	// Debugtime moves the clock, in tests.
	Debugtime
	// Quit closes the connection.
	Quit
	// Foreign is a line of another protocol: the connection must be closed and nothing after it executed.
	Foreign
	// Noop is binary: it is answered after all that came before it.
	Noop
	// SASLList is binary and asks for the mechanisms of authentication.
	SASLList
	// SASLAuth is binary and begins an authentication.
	SASLAuth
	// SASLStep is binary and goes on with one.
	SASLStep
	// BinaryUnknown is a binary request with an opcode that means nothing here.
	BinaryUnknown
	// ConfigGet asks for the members of the cluster.
	ConfigGet
	// ConfigSet would change them.
	ConfigSet
	// ConfigDelete would forget them.
	ConfigDelete
	// MetaNoop (mn) is answered after all that came before it.
	MetaNoop
	// MetaDebug (me) asks for what is known of an item.
	MetaDebug
	// MetaGet (mg) reads an item, under conditions and with side effects.
	MetaGet
	// MetaSet (ms) stores a value.
	MetaSet
	// MetaDelete (md) removes an item or marks it stale.
	MetaDelete
	// MetaArithmetic (ma) adds to a number or subtracts from one.
	MetaArithmetic
)

// IsStore tells whether a data block of Size bytes and a line end follow the line.
func (c Command) IsStore() bool {
	return c >= Set && c <= Cas || c == MetaSet
}

// Request is one parsed line. Its slices point into the line and are valid as long as that is.
type Request struct {
	// Command names the request.
	Command Command
	// NoReply means that the client wants no reply, errors included.
	NoReply bool
	// Problem is the reply to a malformed request, without its line end. Empty means well-formed.
	Problem string
	// Swallow is how many bytes after the line belong to a malformed request and are to be thrown away.
	Swallow int
	// Key is the key, but for the get family. Where Meta.Binary is set it is still in base64.
	Key []byte
	// Keys is what follows a command of the get family: keys, to be taken one by one with NextToken.
	Keys []byte
	// Flags are the flags to store.
	Flags uint32
	// Exptime is the expiry as the client wrote it: 0 never, negative at once, see Deadline.
	Exptime int32
	// Size is the length of the data block without its line end.
	Size int
	// CAS is the version that Cas compares, and meta commands if Meta.HasCAS is set.
	CAS uint64
	// Number is the delta of Incr, Decr and MetaArithmetic, the level of Verbosity, the mebibytes of CacheMemlimit, the
	// bytes that follow ConfigSet, their line end not included.
	Number uint64
	// Rest is what follows watch: words, to be taken one by one with NextToken.
	Rest []byte
	// Args are the words after stats, shutdown, watch, debugtime and lru_crawler, as far as they matter.
	Args [3][]byte
	// NArgs is how many words there are, those beyond Args included.
	NArgs int
	// Binary is what only binary requests have.
	Binary Binary
	// Meta is what only meta commands have.
	Meta Meta
}

// Deadline turns an expiry as clients write it into the second from which an item is gone:
// 0 for never, a negative one for at once.
func Deadline(exptime int32, now int64) int64 {
	switch {
	case exptime == 0:
		return 0
	case exptime < 0:
		return -1
	case exptime > MaxRelativeExpiry:
		return int64(exptime)
	default:
		return now + int64(exptime)
	}
}
