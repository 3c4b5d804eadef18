// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/HdrHistogram/hdrhistogram-go"
)

func TestZipfDrawsRanksInProportion(t *testing.T) {
	const n, drawn = 1000, 400_000
	for _, alpha := range []float64{0, 0.5, 0.99, 1.4} {
		z := newZipf(n, alpha)
		r := rand.New(rand.NewPCG(1, 1))
		counts := make([]float64, n)
		for range drawn {
			counts[z.rank(r.Float64())]++
		}
		total := 0.0
		for k := range n {
			total += math.Pow(float64(k+1), -alpha)
		}
		for _, k := range []int{0, 1, 2, 10, 100, 500, 999} {
			want := drawn * math.Pow(float64(k+1), -alpha) / total
			if deviation := math.Abs(counts[k]-want) / math.Sqrt(want); deviation > 5 {
				t.Errorf("alpha %g: rank %d came %g times, want about %g (%.1f standard deviations off)",
					alpha, k, counts[k], want, deviation)
			}
		}
	}
}

func TestZipfTakesTheEndsOfItsRange(t *testing.T) {
	z := newZipf(10, 1)
	if first, last := z.rank(0), z.rank(math.Nextafter(1, 0)); first != 0 || last != 9 {
		t.Errorf("the ends are ranks %d and %d, want 0 and 9", first, last)
	}
}

func TestDrawsHaveTheShareOfWritesThatWasAskedFor(t *testing.T) {
	for _, reads := range []int{0, 50, 90, 100} {
		writes := 0
		for _, d := range draws(1000, 0.99, reads, 1) {
			if d&writeBit != 0 {
				writes++
			}
			if d&^writeBit >= 1000 {
				t.Fatalf("key %d was drawn of 1000", d&^writeBit)
			}
		}
		if share := float64(writes) / sequenceLen * 100; math.Abs(share-float64(100-reads)) > 0.3 {
			t.Errorf("%.2f %% are writes, want %d %%", share, 100-reads)
		}
	}
}

func TestSequentialSourcesShareTheKeysOut(t *testing.T) {
	const keys = 1001
	w := &Workload{Keys: keys, Sequential: true}
	seen := make([]bool, keys)
	for index := range 3 {
		s := newSource(w, index, 3)
		for {
			id, write, ok := s.take()
			if !ok {
				break
			}
			if !write || seen[id] {
				t.Fatalf("key %d is read, or written twice", id)
			}
			seen[id] = true
		}
	}
	if i := slices.Index(seen, false); i >= 0 {
		t.Errorf("key %d is not written", i)
	}
}

func TestSequentialReadsAskForWhatWasAnswered(t *testing.T) {
	w := &Workload{Keys: 1 << 20, Sequential: true, ReadPercent: 50}
	s := newSource(w, 1, 2)
	first, reads := s.next, 0
	for range 4 * lagKeys {
		id, write, ok := s.take()
		if !ok {
			t.Fatal("the source ended")
		}
		if write {
			continue
		}
		reads++
		if id < first || id+lagKeys >= s.next {
			t.Fatalf("key %d is read when %d to %d were written", id, first, s.next)
		}
	}
	if reads == 0 {
		t.Error("nothing is read")
	}
}

// TestHistogramAgreesWithSortedSamples holds the library to the digits that it was asked for.
func TestHistogramAgreesWithSortedSamples(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	h := hdrhistogram.New(1, maxLatency, digits)
	samples := make([]int64, 0, 100_000)
	for range cap(samples) {
		v := int64(math.Exp(r.NormFloat64()*2+10)) + 1
		samples = append(samples, v)
		if err := h.RecordValue(v); err != nil {
			t.Fatal(err)
		}
	}
	slices.Sort(samples)
	for _, percentile := range []float64{50, 90, 99, 99.9, 99.99} {
		want := float64(samples[int(math.Ceil(percentile/100*float64(len(samples))))-1])
		got := float64(h.ValueAtQuantile(percentile))
		if math.Abs(got-want) > want/1000+1 {
			t.Errorf("percentile %g is %g, want %g", percentile, got, want)
		}
	}
}
