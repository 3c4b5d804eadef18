// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// differences are all that is known to differ from memcached 1.6.18, as docs/compatibility.md lists them. Both
// replies are asserted, so that a difference that is gone is noticed.
var differences = []struct {
	// name stands in docs/compatibility.md.
	name         string
	steps        []string
	theirs, ours string
}{
	{"version", []string{"version\r\n"}, "VERSION 1.6.18\r\n", "VERSION 1.6.45\r\n"},
	{"strict numbers", []string{"set k 4294967297 0 5\r\nhello\r\n"}, "STORED\r\n",
		"CLIENT_ERROR bad command line format\r\n"},
	{"strict numbers", []string{"touch none 2147483648\r\n"}, "NOT_FOUND\r\n",
		"CLIENT_ERROR invalid exptime argument\r\n"},
	{"strict numbers", []string{"touch none +5\r\n"}, "NOT_FOUND\r\n", "CLIENT_ERROR invalid exptime argument\r\n"},
	{"strict numbers", []string{"touch none 5\tx\r\n"}, "NOT_FOUND\r\n", "CLIENT_ERROR invalid exptime argument\r\n"},
	{"strict numbers", []string{"incr none -18446744073709551615\r\n"}, "NOT_FOUND\r\n",
		"CLIENT_ERROR invalid numeric delta argument\r\n"},
	{"large numbers are numbers", []string{"set n 0 0 24\r\n" + strings.Repeat("-", 24) + "\r\ndelete n\r\n" +
		"set n 0 0 20\r\n18446744073709551615\r\nincr n 1\r\n"},
		"STORED\r\nDELETED\r\nSTORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n",
		"STORED\r\nDELETED\r\nSTORED\r\n0\r\n"},
	{"large numbers are numbers", []string{"set n 0 0 8\r\n12345678\r\ndelete n\r\nset n 0 0 1\r\n\t\r\nincr n 1\r\n"},
		"STORED\r\nDELETED\r\nSTORED\r\n45679\r\n",
		"STORED\r\nDELETED\r\nSTORED\r\nCLIENT_ERROR cannot increment or decrement non-numeric value\r\n"},
	{"replies before a long key are kept", []string{"touch none 0\r\nget " + strings.Repeat("l", 251) + "\r\n"},
		"CLIENT_ERROR bad command line format\r\n", "NOT_FOUND\r\nCLIENT_ERROR bad command line format\r\n"},
	{"flushed stays flushed", []string{"set k 0 0 1\r\nx\r\nflush_all\r\nflush_all 5000\r\nget k\r\n"},
		"STORED\r\nOK\r\nOK\r\nVALUE k 0 1\r\nx\r\nEND\r\n", "STORED\r\nOK\r\nOK\r\nEND\r\n"},
	{"too large is said at once", []string{"set none 0 0 2147483645\r\n"}, "",
		"SERVER_ERROR object too large for cache\r\n"},
	{"HTTP closes", []string{"GET /\r\nversion\r\n"}, "ERROR\r\nVERSION 1.6.18\r\n", ""},
	{"HTTP closes", []string{"version\r\n", "POST /\r\nversion\r\n"}, "VERSION 1.6.18\r\nERROR\r\nVERSION 1.6.18\r\n",
		"VERSION 1.6.45\r\n"},
	{"other protocols close", []string{"\x16\x03\x01\r\nversion\r\n"}, "ERROR\r\nVERSION 1.6.18\r\n", ""},
	{"other protocols close", []string{"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\nversion\r\n"},
		"ERROR\r\nVERSION 1.6.18\r\n", ""},
	{"other protocols close", []string{"SSH-2.0-x\r\nversion\r\n"}, "ERROR\r\nVERSION 1.6.18\r\n", ""},
	{"values of refused stores", []string{"set k x 0 9\r\nflush_all\r\n"},
		"CLIENT_ERROR bad command line format\r\nOK\r\n", "CLIENT_ERROR bad command line format\r\n"},
	{"values of refused stores", []string{"cas k 0 0 7\r\nversion\r\n"}, "ERROR\r\nVERSION 1.6.18\r\n",
		"CLIENT_ERROR bad command line format\r\n"},
	{"short lines", []string{"\r\n \nab\n"}, "ERROR\r\nERROR\r\nERROR\r\n",
		strings.Repeat("CLIENT_ERROR bad command line format\r\n", 3)},
	{"shutdown's refusal", []string{"shutdown\r\n"}, "ERROR: shutdown not enabled\r\n",
		"SERVER_ERROR: shutdown not enabled\r\n"},
	{"the crawler is always there", []string{"lru_crawler enable\r\n"}, "ERROR failed to start lru crawler thread\r\n",
		"OK\r\n"},
	{"dumps for meta commands", []string{"flush_all\r\nset k 0 0 1\r\nx\r\n", "lru_crawler mgdump all\r\n"},
		"OK\r\nSTORED\r\nERROR\r\n", "OK\r\nSTORED\r\nOK\r\nmg k\r\nEN\r\n"},
	{"no slabs", []string{"slabs automove 1\r\n"}, "OK\r\n", "ERROR\r\n"},
	{"no slabs", []string{"lru mode flat\r\n"}, "OK\r\n", "ERROR\r\n"},
	{"no sizes", []string{"stats sizes_enable\r\n", "stats sizes_disable\r\n"},
		"STAT sizes_status enabled\r\nSTAT sizes_status disabled\r\n", "ERROR\r\nERROR\r\n"},
	{"no certificates yet", []string{"refresh_certs\r\n"}, "Error TLS not enabled\r\n", "ERROR\r\n"},
	{"a binary request takes its own body", []string{binaryRequest(0x77, "", "0123456789", "") + binaryNoop},
		binaryReply(0x77, 0x81, "Unknown command"),
		binaryReply(0x77, 0x81, "Unknown command") + binaryReply(0x0a, 0, "")},
	{"a binary request takes its own body", []string{binaryRequest(0x1c, "\x00\x00\x00\x00", "none", "0123456789") +
		binaryNoop}, binaryReply(0x1c, 1, "Not found"), binaryReply(0x1c, 1, "Not found") + binaryReply(0x0a, 0, "")},
	{"replies before a wrong magic are kept", []string{
		binaryRequest(0x11, strings.Repeat("\x00", 8), "k", "") + binaryRequest(0x04, "", "k", "") +
			strings.Repeat("x", 24)}, "", binaryReply(0x04, 0, "")},
	{"no binary body above 1 GiB", []string{"\x80\x0e\x00\x01\x00\x00\x00\x00\x40\x00\x00\x01" +
		strings.Repeat("\x00", 12) + "k"}, "", binaryReply(0x0e, 4, "Invalid arguments")},
	{"strict numbers", []string{"mg none T+5\r\n"}, "EN\r\n", "CLIENT_ERROR bad token in command line format\r\n"},
	{"later meta flags", []string{"ms m 0 E5\r\n\r\n"}, "CLIENT_ERROR invalid flag\r\n", "HD\r\n"},
	{"later meta flags", []string{"md none x\r\n"}, "CLIENT_ERROR invalid or duplicate flag\r\n", "NF\r\n"},
	{"later meta flags", []string{"ms v 1 MA N0\r\nx\r\n"}, "NS\r\n", "HD\r\n"},
	{"later meta flags", []string{"ma quietly N-1 q\r\nmd quietly q\r\n"}, "HD\r\nNF\r\n", "NF\r\n"},
	{"words of meta commands", []string{"mg\r\n"}, "ERROR\r\n", "CLIENT_ERROR bad command line format\r\n"},
	{"words of meta commands", []string{"mg none !\r\n"}, "CLIENT_ERROR invalid flag\r\n",
		"CLIENT_ERROR bad command line format\r\n"},
	{"words of meta commands", []string{" mn\r\n"}, "MN\r\n", "ERROR\r\n"},
	{"words of meta commands", []string{"ms m 1 MSET\r\nx\r\n"}, "CLIENT_ERROR incorrect length for M token\r\n",
		"HD\r\n"},
	{"words of meta commands", []string{"md none C-1\r\n"}, "CLIENT_ERROR invalid or duplicate flag\r\n",
		"CLIENT_ERROR bad token in command line format\r\n"},
	{"words of meta commands", []string{"ms m -\r\n\r\n"}, "CLIENT_ERROR bad command line format\r\nERROR\r\n",
		"HD\r\n"},
	{"a refused command does nothing", []string{"ma refused N0 O" + strings.Repeat("o", 32) + "\r\nmg refused v\r\n"},
		"CLIENT_ERROR opaque token too long\r\nVA 1\r\n0\r\n", "CLIENT_ERROR opaque token too long\r\nEN\r\n"},
	{"later meta flags", []string{"set m 0 100 1\r\nx\r\nme m\r\n"},
		"STORED\r\nME m exp=-N la=N cas=N fetch=no cls=N size=N\r\n",
		"STORED\r\nME m exp=N la=N cas=N fetch=no cls=N size=N\r\n"},
	{"a number keeps what it is given", []string{"ms nine 1\r\n9\r\nma nine T-1\r\nmg nine v\r\n"},
		"HD\r\nHD\r\nVA 2\r\n10\r\n", "HD\r\nHD\r\nEN\r\n"},
	{"keys do not break replies", []string{"mg YQ0KYg== N0 b\r\nmg YQ0KYg== k b\r\n"}, "HD W\r\nHD ka\r\nb Z\r\n",
		"HD W\r\nHD kYQ0KYg== b Z\r\n"},
}

// binaryRequest is a request of the binary protocol.
func binaryRequest(opcode byte, extras, key, value string) string {
	return "\x80" + string([]byte{opcode, 0, byte(len(key)), byte(len(extras)), 0, 0, 0, 0, 0, 0,
		byte(len(extras) + len(key) + len(value))}) + strings.Repeat("\x00", 12) + extras + key + value
}

// binaryReply is a reply of the binary protocol without extras, key and CAS.
func binaryReply(opcode, status byte, body string) string {
	return "\x81" + string([]byte{opcode, 0, 0, 0, 0, 0, status, 0, 0, 0, byte(len(body))}) +
		strings.Repeat("\x00", 12) + body
}

var binaryNoop = binaryRequest(0x0a, "", "", "")

// sometimes is what memcached says instead when its background threads were faster.
var sometimes = map[string]string{"flushed stays flushed": "STORED\r\nOK\r\nOK\r\nEND\r\n"}

// Of what me says, the numbers differ from run to run.
var debugLines, digits = regexp.MustCompile(`(?m)^ME .*$`), regexp.MustCompile(`[0-9]+`)

func TestDifferencesAreTheListedOnes(t *testing.T) {
	addrs := [2]string{startMemcached(t), startOurs(t)}
	for _, d := range differences {
		t.Run(d.name, func(t *testing.T) {
			for i, want := range []string{d.theirs, d.ours} {
				got, err := talk(addrs[i], d.steps)
				if err != nil {
					t.Fatalf("%s: %v", names[i], err)
				}
				got = debugLines.ReplaceAllFunc(got, func(line []byte) []byte {
					return digits.ReplaceAll(line, []byte("N"))
				})
				if string(got) != want && (i == 1 || string(got) != sometimes[d.name]) {
					t.Errorf("%s says %q, want %q", names[i], got, want)
				}
			}
		})
	}
}

// TestTheDocumentListsTheSame keeps docs/compatibility.md and the table above together.
func TestTheDocumentListsTheSame(t *testing.T) {
	text, err := os.ReadFile("../../docs/compatibility.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## Differences")
	section, _, _ = strings.Cut(section, "\n## ")
	var listed, asserted []string
	for _, row := range regexp.MustCompile(`(?m)^\| ([^|]+?) \|`).FindAllStringSubmatch(section, -1)[1:] {
		listed = append(listed, row[1])
	}
	for _, d := range differences {
		if !slices.Contains(asserted, d.name) {
			asserted = append(asserted, d.name)
		}
	}
	if !slices.Equal(listed, asserted) {
		t.Errorf("the document lists %q,\nthe table %q", listed, asserted)
	}
}
