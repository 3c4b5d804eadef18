// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"bytes"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// reply is one reply, with its data block where it has one.
type reply struct {
	text string   // CAS numbers, times and versions left out
	key  string   // of a reply that tells key and CAS
	cas  []uint64 // in their order
	quit bool     // the connection ends here
	near []int    // seconds, which depend on where in a second a server's clock ticks
}

// same compares the replies of both sides, CAS numbers aside.
func same(a, b reply) bool {
	if a.text != b.text || len(a.cas) != len(b.cas) || len(a.near) != len(b.near) {
		return false
	}
	for i := range a.near {
		x, y := a.near[i], b.near[i]
		if x != y && (x == -1 || y == -1 || x-y > 2 || y-x > 2) { // -1 is for ever
			return false
		}
	}
	return true
}

func (r reply) String() string {
	return fmt.Sprintf("%s%v%v", shorten(r.text), r.cas, r.near)
}

// parseText splits what a server has sent in the text protocol, meta commands included.
func parseText(stream []byte) []reply {
	var replies []reply
	for len(stream) > 0 {
		end := bytes.Index(stream, []byte("\r\n"))
		if end < 0 {
			return append(replies, reply{text: "unfinished: " + string(stream)})
		}
		line := string(stream[:end])
		stream = stream[end+2:]
		r, size := parseLine(line)
		if size >= 0 {
			if size+2 > len(stream) {
				return append(replies, reply{text: "unfinished: " + line})
			}
			r.text += "\n" + string(stream[:size+2])
			stream = stream[size+2:]
		}
		replies = append(replies, r)
	}
	return replies
}

// parseLine reads a line, and the size of the data block behind it, -1 where there is none.
func parseLine(line string) (reply, int) {
	words := strings.Split(line, " ")
	switch {
	case words[0] == "VERSION":
		return reply{text: "VERSION"}, -1
	case words[0] == "VALUE" && len(words) >= 4:
		r := reply{text: strings.Join(words[:4], " ")}
		if len(words) == 5 {
			r.key = words[1]
			r.addCAS(words[4])
		}
		return r, sizeOf(words[3])
	case words[0] == "VA" && len(words) >= 2:
		return parseFlags(words[:2], words[2:]), sizeOf(words[1])
	case words[0] == "HD" || words[0] == "NS" || words[0] == "EX" || words[0] == "NF" || words[0] == "EN":
		return parseFlags(words[:1], words[1:]), -1
	case words[0] == "ME":
		return parseDebug(line), -1
	default:
		return reply{text: line}, -1
	}
}

func sizeOf(word string) int {
	size, err := strconv.Atoi(word)
	if err != nil || size < 0 {
		return 1 << 30 // no stream is so long: the reply is unfinished
	}
	return size
}

func (r *reply) addCAS(digits string) {
	number, err := strconv.ParseUint(digits, 10, 64)
	if err != nil {
		r.text += " no CAS: " + digits
		return
	}
	r.text += " CAS"
	if number == 0 || number >= literalCAS {
		r.text += digits // not the server's own
		return
	}
	r.cas = append(r.cas, number)
}

func (r *reply) addNear(name, digits string) {
	seconds, err := strconv.Atoi(digits)
	if err != nil {
		r.text += " no seconds: " + digits
		return
	}
	r.text += " " + name
	if name == "l" || name == "la" {
		return // memcached notes not every access: see docs/compatibility.md
	}
	if seconds > 1<<31 {
		r.text += " below 0" // an item that was made with an expiry in the past
		return
	}
	r.near = append(r.near, seconds)
}

var number = regexp.MustCompile(`^-?[0-9]+$`)

// parseFlags reads the flags of a meta reply.
func parseFlags(head, flags []string) reply {
	r := reply{text: strings.Join(head, " ")}
	for _, flag := range flags {
		switch {
		case flag == "" || !number.MatchString(flag[1:]):
			r.text += " " + flag
		case flag[0] == 'c':
			r.addCAS(flag[1:])
		case flag[0] == 't' || flag[0] == 'l':
			r.addNear(flag[:1], flag[1:])
		default:
			r.text += " " + flag
		}
	}
	return r
}

var debugLine = regexp.MustCompile(`^(ME (.+) )exp=(-?[0-9]+) la=([0-9]+) cas=([0-9]+) (.*)$`)

// parseDebug reads the reply to me.
func parseDebug(line string) reply {
	found := debugLine.FindStringSubmatch(line)
	if found == nil {
		return reply{text: line}
	}
	r := reply{text: found[1] + found[6], key: found[2]}
	// 1.6.18 counts down below 0, so that -1 is for ever, or one second.
	r.addNear("exp", strings.TrimPrefix(found[3], "-"))
	r.addNear("la", found[4])
	r.addCAS(found[5])
	return r
}
