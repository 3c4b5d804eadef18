// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package protocol

import "bytes"

// Replies to malformed requests.
const (
	problemError       = "ERROR"
	problemFormat      = "CLIENT_ERROR bad command line format"
	problemDeleteUsage = "CLIENT_ERROR bad command line format.  Usage: delete <key> [noreply]"
	problemExptime     = "CLIENT_ERROR invalid exptime argument"
	problemDelta       = "CLIENT_ERROR invalid numeric delta argument"
)

// Parse reads a line, as NextLine returned it, into r. It never fails: what is malformed says so in
// r.Problem.
func Parse(line []byte, r *Request) {
	*r = Request{}
	if parseMeta(line, r) {
		return
	}
	name, rest := NextToken(line)
	if parseGet(name, rest, r) {
		return
	}
	var w words
	split(line, &w)
	switch string(name) {
	case "set":
		parseStore(&w, r, Set, 5)
	case "add":
		parseStore(&w, r, Add, 5)
	case "replace":
		parseStore(&w, r, Replace, 5)
	case "append":
		parseStore(&w, r, Append, 5)
	case "prepend":
		parseStore(&w, r, Prepend, 5)
	case "cas":
		parseStore(&w, r, Cas, 6)
	case "incr":
		parseArithmetic(&w, r, Incr)
	case "decr":
		parseArithmetic(&w, r, Decr)
	case "touch":
		parseTouch(&w, r)
	case "delete":
		parseDelete(&w, r)
	default:
		parseAdmin(&w, rest, r)
	}
}

// ShortLine has the reply to a line of n bytes, its end included, tell what memcached tells of one in which there
// cannot be a command.
func (r *Request) ShortLine(n int) {
	const shortest = 4
	if n < shortest && r.Problem == problemError {
		r.Problem = problemFormat
	}
}

func (r *Request) fail(problem string) {
	r.Problem = problem
}

// parseGet reads the get family: get and gets with keys, gat and gats with an expiry and keys.
// bget is an old spelling of get that memcached still takes.
func parseGet(name, rest []byte, r *Request) bool {
	touches := false
	switch string(name) {
	case "get", "bget":
		r.Command = Get
	case "gets":
		r.Command = Gets
	case "gat":
		r.Command, touches = Gat, true
	case "gats":
		r.Command, touches = Gats, true
	default:
		return false
	}
	first, more := NextToken(rest)
	if len(first) == 0 {
		r.Command = Unknown
		r.fail(problemError)
		return true
	}
	r.Keys = rest
	if touches {
		exptime, ok := parseInt32(first)
		if !ok {
			r.fail(problemExptime)
		}
		r.Exptime, r.Keys = exptime, more
	}
	return true
}

// parseStore reads <command> <key> <flags> <exptime> <bytes> [<cas>] [noreply], of n words without noreply.
// Any last word is taken in the place of noreply, as in memcached. A cas without a number is known to be one.
func parseStore(w *words, r *Request, command Command, n int) {
	if w.n != n && w.n != n+1 && (command != Cas || w.n != n-1) {
		r.fail(problemError)
		return
	}
	r.NoReply = w.noReply()
	r.Key = w.word[1]
	flags, ok1 := parseUint32(w.word[2])
	exptime, ok2 := parseInt32(w.word[3])
	size, ok3 := parseInt32(w.word[4])
	const maxSize = 1<<31 - 1 - 2
	ok := ok1 && ok2 && len(r.Key) <= MaxKeyLen
	if command == Cas {
		cas, isNumber := ParseUint64(w.word[5])
		r.CAS, ok = cas, ok && isNumber && w.n >= n
	}
	switch {
	case !ok3 || size < 0 || size > maxSize:
		r.fail(problemFormat)
		return
	case !ok:
		// What follows is a value all the same, and nobody must execute it.
		r.fail(problemFormat)
		r.Swallow = int(size) + 2
		return
	}
	r.Command, r.Flags, r.Exptime, r.Size = command, flags, exptime, int(size)
}

// parseArithmetic reads incr|decr <key> <delta> [noreply].
func parseArithmetic(w *words, r *Request, command Command) {
	if w.n != 3 && w.n != 4 {
		r.fail(problemError)
		return
	}
	r.Command, r.NoReply, r.Key = command, w.noReply(), w.word[1]
	delta, ok := ParseUint64(w.word[2])
	switch {
	case len(r.Key) > MaxKeyLen:
		r.fail(problemFormat)
	case !ok:
		r.fail(problemDelta)
	}
	r.Number = delta
}

// parseTouch reads touch <key> <exptime> [noreply].
func parseTouch(w *words, r *Request) {
	if w.n != 3 && w.n != 4 {
		r.fail(problemError)
		return
	}
	r.Command, r.NoReply, r.Key = Touch, w.noReply(), w.word[1]
	exptime, ok := parseInt32(w.word[2])
	switch {
	case len(r.Key) > MaxKeyLen:
		r.fail(problemFormat)
	case !ok:
		r.fail(problemExptime)
	}
	r.Exptime = exptime
}

// parseDelete reads delete <key> [0] [noreply]. The 0 is what is left of an old argument.
func parseDelete(w *words, r *Request) {
	if w.n < 2 || w.n > 4 {
		r.fail(problemError)
		return
	}
	r.Command, r.Key = Delete, w.word[1]
	if w.n > 2 {
		r.NoReply = w.noReply()
		zero := string(w.word[2]) == "0"
		if w.n == 3 && !zero && !r.NoReply || w.n == 4 && (!zero || !r.NoReply) {
			r.fail(problemDeleteUsage)
			return
		}
	}
	if len(r.Key) > MaxKeyLen {
		r.fail(problemFormat)
	}
}

// parseAdmin reads the commands that have no key.
func parseAdmin(w *words, rest []byte, r *Request) {
	switch string(w.word[0]) {
	case "flush_all":
		parseFlushAll(w, r)
	case "verbosity":
		parseLevel(w, r, Verbosity, problemFormat)
	case "cache_memlimit":
		parseLevel(w, r, CacheMemlimit, problemError)
	case "version":
		r.Command = Version
	case "quit":
		r.Command = Quit
	case "stats":
		parseWords(w, r, Stats)
	case "shutdown":
		parseWords(w, r, Shutdown)
	case "watch":
		parseWords(w, r, Watch)
		r.NoReply, r.Rest = w.noReply(), rest
	case "config":
		parseConfig(w, r)
	case "debugtime":
		parseWords(w, r, Debugtime)
	case "lru_crawler":
		parseWords(w, r, LRUCrawler)
	default:
		if bytes.HasPrefix(w.last, []byte("HTTP/")) {
			r.Command = Foreign
			return
		}
		r.fail(problemError)
	}
}

// parseFlushAll reads flush_all [<delay>] [noreply].
func parseFlushAll(w *words, r *Request) {
	if w.n > 3 {
		r.fail(problemError)
		return
	}
	r.Command, r.NoReply = FlushAll, w.noReply()
	if w.n == 1 || w.n == 2 && r.NoReply {
		return
	}
	delay, ok := parseInt32(w.word[1])
	if !ok {
		r.fail(problemExptime)
	}
	r.Exptime = delay
}

// parseLevel reads <command> <number> [noreply].
func parseLevel(w *words, r *Request, command Command, problem string) {
	if w.n != 2 && w.n != 3 {
		r.fail(problemError)
		return
	}
	r.Command, r.NoReply = command, w.noReply()
	number, ok := parseUint32(w.word[1])
	if !ok {
		r.fail(problem)
	}
	r.Number = uint64(number)
}

// parseWords keeps the words after the command.
func parseWords(w *words, r *Request, command Command) {
	r.Command = command
	r.NArgs = w.n - 1
	copy(r.Args[:], w.word[1:])
}

// parseConfig reads config get|set|delete <name>, and of set <flags> <bytes> as well: a block of bytes follows.
func parseConfig(w *words, r *Request) {
	parseWords(w, r, ConfigGet)
	r.Args[0], r.Key = w.word[1], w.word[2]
	switch name := string(w.word[1]); {
	case name == "get" && w.n == 3:
	case name == "delete" && w.n == 3:
		r.Command = ConfigDelete
	case name == "set" && w.n == 5:
		size, ok := parseInt32(w.word[4])
		if !ok || size < 0 {
			r.fail(problemError)
			return
		}
		r.Command, r.Number = ConfigSet, uint64(size)
	default:
		r.fail(problemError)
	}
}
