// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package differential

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"
)

// reply is one reply: a line, with the data block where it has one.
type reply struct {
	text string // CAS numbers and versions left out
	key  string // of a VALUE with CAS
	cas  uint64
}

// parseReplies splits what a server has sent.
func parseReplies(stream []byte) []reply {
	var replies []reply
	for len(stream) > 0 {
		end := bytes.Index(stream, []byte("\r\n"))
		if end < 0 {
			return append(replies, reply{text: "unfinished: " + string(stream)})
		}
		line := stream[:end]
		stream = stream[end+2:]
		words := bytes.Split(line, []byte(" "))
		switch {
		case bytes.HasPrefix(line, []byte("VERSION ")):
			replies = append(replies, reply{text: "VERSION"})
		case bytes.HasPrefix(line, []byte("VALUE ")) && len(words) >= 4:
			r := reply{text: string(bytes.Join(words[:4], []byte(" ")))}
			if len(words) == 5 {
				r.key = string(words[1])
				r.cas, _ = strconv.ParseUint(string(words[4]), 10, 64)
				r.text += " CAS"
			}
			size, err := strconv.Atoi(string(words[3]))
			if err != nil || size < 0 || size+2 > len(stream) {
				return append(replies, reply{text: "unfinished: " + string(line)})
			}
			block := stream[:size+2]
			stream = stream[size+2:]
			if slices.Contains(counters, string(words[1])) {
				block = bytes.TrimRight(block, " \r\n")
				r.text = strings.TrimSuffix(r.text, " CAS")
				r.text = r.text[:len(r.text)-len(words[3])-1]
			}
			r.text += "\n" + string(block)
			replies = append(replies, r)
		default:
			replies = append(replies, reply{text: string(line)})
		}
	}
	return replies
}

// farewell ends a stream: enough empty lines to end a data block that is still open, then a word that closes the
// connection. Closing our half at once would not do: memcached may then throw away what it has just read.
var farewell = []byte(strings.Repeat("\r\n", 60) + "quit\r\n")

// exchange sends a stream in pieces over a connection of its own, ends it, and returns all that came back.
func exchange(addr string, pieces [][]byte) ([]byte, error) {
	return converse(addr, append(pieces, farewell), 0, 20*time.Second)
}

// converse sends pieces over a connection of its own, with a pause after each, and returns all that came back
// until the server closed. Where it does not, our half is closed after patience has run out.
func converse(addr string, pieces [][]byte, pause, patience time.Duration) ([]byte, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(60 * time.Second)); err != nil {
		return nil, err
	}
	go func() {
		for _, piece := range pieces {
			// A server may close before it has read all: what it sent until then counts.
			if _, err := conn.Write(piece); err != nil {
				return
			}
			time.Sleep(pause)
		}
		time.AfterFunc(patience, func() { _ = conn.(*net.TCPConn).CloseWrite() })
	}()
	var got bytes.Buffer
	_, err = io.Copy(&got, conn)
	if err != nil && !isReset(err) {
		return got.Bytes(), fmt.Errorf("read replies: %w", err)
	}
	return got.Bytes(), nil
}

// casOf asks a server for the CAS of keys.
func casOf(addr string, keys []string) (map[string]uint64, error) {
	request := []byte("gets")
	for _, key := range keys {
		request = append(append(request, ' '), key...)
	}
	got, err := exchange(addr, [][]byte{append(request, "\r\n"...)})
	if err != nil {
		return nil, err
	}
	cas := make(map[string]uint64)
	for _, r := range parseReplies(got) {
		if r.key != "" {
			cas[r.key] = r.cas
		}
	}
	return cas, nil
}
