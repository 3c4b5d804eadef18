// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package engine

import (
	"fmt"
	"strings"
	"testing"
)

// inPieces cuts a text behind every so many bytes, and shows that pieces may be empty.
func inPieces(text string, size int) (first []byte, more [][]byte) {
	first, text = []byte(text[:min(size, len(text))]), text[min(size, len(text)):]
	for len(text) > 0 {
		n := min(size, len(text))
		more = append(more, []byte(text[:n]), nil)
		text = text[n:]
	}
	return first, more
}

func TestAValueGivenInPiecesIsStoredAsOne(t *testing.T) {
	value := strings.Repeat("0123456789abcdef", 8000)
	for _, total := range []int{1, 100, 5000, 40_000, len(value)} {
		for _, size := range []int{0, 1, 77, 4096, 32 << 10} {
			if size == 1 && total > 5000 {
				continue
			}
			t.Run(fmt.Sprintf("%d bytes, %d each", total, size), func(t *testing.T) {
				want := value[:total]
				first, more := inPieces(want, max(size, 1))
				if size == 0 {
					first, more = nil, [][]byte{[]byte(want)}
				}
				s := newScript(t)
				m := Mutation{Verb: Set, Value: first, More: more}
				wants(s, m.ValueLen(), total)
				wants(s, s.do(m, Stored).Item.Size, total)
				s.value(want)
				s.do(Mutation{Verb: Append, Value: first, More: more}, Stored)
				s.value(want + want)
				s.do(Mutation{Verb: Prepend, Value: []byte("<"), More: [][]byte{[]byte("-"), []byte(">")}}, Stored)
				s.value("<->" + want + want)
				s.do(Mutation{Verb: Append, Value: []byte("<"), More: [][]byte{nil, []byte("->")}}, Stored)
				s.value("<->" + want + want + "<->")
				s.do(Mutation{Verb: Set, Value: first, More: more}, Stored)
				s.value(want)
			})
		}
	}
}

func TestPiecesCountForTheLargestItem(t *testing.T) {
	s := newScript(t)
	half := make([]byte, 600_000)
	s.set("old")
	s.do(Mutation{Verb: Add, Key: []byte("other"), Value: half, More: [][]byte{half}}, TooLarge)
	s.do(Mutation{Verb: Set, Value: half, More: [][]byte{half}}, TooLarge)
	if _, _, ok := s.e.Get(nil, []byte("k")); ok {
		t.Error("what was to be replaced is still there")
	}
}

func TestWhatIsTooLargeToBeANumberIsNoneWhateverItsCAS(t *testing.T) {
	s := newScript(t)
	s.set(strings.Repeat("1", mostCounted))
	s.do(Mutation{Verb: Increment, Delta: 1, CAS: 12345, HasCAS: true}, NonNumeric)
	s.set(strings.Repeat("1", 1000))
	s.do(Mutation{Verb: Increment, Delta: 1, CAS: 12345, HasCAS: true}, Exists)
}

func TestStatsTellWhereTheMemoryIs(t *testing.T) {
	s := newScript(t)
	for i := range 20_000 {
		s.do(Mutation{Verb: Set, Key: fmt.Appendf(nil, "key%d", i), Value: make([]byte, 100)}, Stored)
	}
	st := s.e.Stats()
	if st.IndexBytes <= 0 || st.IndexBytes >= st.MappedBytes || st.IndexSlots < uint64(st.CurrItems) {
		t.Errorf("an index of %d bytes and %d slots for %d items, of %d bytes mapped",
			st.IndexBytes, st.IndexSlots, st.CurrItems, st.MappedBytes)
	}
	dead := st.DeadBytes
	for i := range 5000 {
		s.do(Mutation{Verb: Delete, Key: fmt.Appendf(nil, "key%d", 4*i)}, Deleted)
	}
	if got := s.e.Stats().DeadBytes; got < dead+5000*100 {
		t.Errorf("%d bytes are dead, want at least %d", got, dead+5000*100)
	}
	s.set(strings.Repeat("v", 200_000))
	var held Snapshot
	if _, res := s.e.Read(nil, &Read{Key: []byte("k"), Hold: &held, Plain: true}); !res.Held {
		t.Fatal("it is not held")
	}
	if got := s.e.Stats().HeldBytes; got < 200_000 {
		t.Errorf("%d bytes are held, want at least 200000", got)
	}
	held.Release()
	wants(s, s.e.Stats().HeldBytes, 0)
}
