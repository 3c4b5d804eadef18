// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
)

// KeyLen is the length of every key.
const KeyLen = 20

const (
	keyPrefix = "key:"
	hexDigits = "0123456789abcdef"
	// valueSteps is how many different values of one size there are.
	valueSteps = 1 << 9
	valueStep  = 61 // odd, so that values do not line up
)

// mix spreads numbers over 64 bits: neighbouring keys share nothing. It is the finaliser of SplitMix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// appendKey appends the key of number id: KeyLen bytes.
func appendKey(dst []byte, id uint32) []byte {
	var key [KeyLen]byte
	copy(key[:], keyPrefix)
	x := mix(uint64(id))
	for i := len(keyPrefix); i < KeyLen; i++ {
		key[i] = hexDigits[x&15]
		x >>= 4
	}
	return append(dst, key[:]...)
}

// hasKey tells whether b begins with the key of number id.
func hasKey(b []byte, id uint32) bool {
	var want [KeyLen]byte
	return len(b) >= KeyLen && bytes.Equal(b[:KeyLen], appendKey(want[:0], id))
}

// values makes the value that belongs to each key, so that a wrong one is seen.
type values struct {
	block []byte
	size  int
}

func newValues(size int) *values {
	r := rand.New(rand.NewPCG(1, 2))
	block := make([]byte, size+valueSteps*valueStep)
	for i := range block {
		block[i] = hexDigits[r.IntN(len(hexDigits))]
	}
	return &values{block: block, size: size}
}

func (v *values) of(id uint32) []byte {
	at := int(mix(uint64(id)) >> 32 % valueSteps * valueStep)
	return v.block[at : at+v.size]
}

// sequenceLen is how many draws are made beforehand and then repeated.
const sequenceLen = 1 << 20

// writeBit marks a draw as a write.
const writeBit = 1 << 31

// draws returns sequenceLen keys below n, each with writeBit in (100-readPercent) of 100 cases. Key number k+1 in
// order of popularity comes up in proportion to 1/(k+1)^alpha: 0 is uniform, 0.99 what YCSB calls zipfian. Which
// keys are popular is as good as random.
func draws(n int, alpha float64, readPercent int, seed uint64) []uint32 {
	r := rand.New(rand.NewPCG(seed, 3))
	z := newZipf(n, alpha)
	ids := make([]uint32, n)
	for i, p := range r.Perm(n) {
		ids[i] = uint32(p)
	}
	out := make([]uint32, sequenceLen)
	for i := range out {
		out[i] = ids[z.rank(r.Float64())]
		if r.IntN(100) >= readPercent {
			out[i] |= writeBit
		}
	}
	return out
}

// zipf is the distribution with any exponent, rand.Zipf's being above 1, from the table of its sums.
type zipf struct {
	sums []float64
}

func newZipf(n int, alpha float64) *zipf {
	z := &zipf{sums: make([]float64, n)}
	total := 0.0
	for k := range z.sums {
		total += math.Pow(float64(k+1), -alpha)
		z.sums[k] = total
	}
	return z
}

// rank maps a number from [0, 1) to a rank; rank 0 is the most popular.
func (z *zipf) rank(u float64) int {
	i, _ := slices.BinarySearch(z.sums, u*z.sums[len(z.sums)-1])
	return min(i, len(z.sums)-1)
}

// source decides what is asked next.
type source struct {
	draws []uint32
	at    int
	// For a sequential source: the next new key, the first that is not to be written, and how many keys back a
	// read may reach for one that was certainly answered.
	next, end, lag uint32
	readPercent    uint32
	rng            *rand.PCG
}

// newSource returns the w's source for the driver of the given index among several.
func newSource(w *Workload, index, of int) *source {
	s := &source{rng: rand.NewPCG(w.Seed, uint64(index)+11), readPercent: uint32(w.ReadPercent)}
	if w.Sequential {
		share := uint32((w.Keys + of - 1) / of)
		s.next = share * uint32(index)
		s.end = min(s.next+share, uint32(w.Keys))
		s.lag = lagKeys + s.next
		return s
	}
	s.draws = w.draws
	s.at = index * len(s.draws) / of
	return s
}

// lagKeys is more than the requests that can be under way at once.
const lagKeys = 1 << 16

// take returns the next key and whether it is written. False means that there is none left.
func (s *source) take() (id uint32, write, ok bool) {
	if s.draws != nil {
		d := s.draws[s.at]
		if s.at++; s.at == len(s.draws) {
			s.at = 0
		}
		return d &^ writeBit, d&writeBit != 0, true
	}
	if s.readPercent > 0 && s.next > s.lag {
		x := s.rng.Uint64()
		if uint32(x)%100 < s.readPercent {
			first := s.lag - lagKeys
			return first + uint32(x>>32)%(s.next-s.lag), false, true
		}
	}
	if s.next >= s.end {
		return 0, false, false
	}
	s.next++
	return s.next - 1, true, true
}
