// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"math"
	"slices"
)

// spread is what several rounds measured of one figure.
type spread struct {
	Median float64 `json:"median"`
	Least  float64 `json:"least"`
	Most   float64 `json:"most"`
	Rounds int     `json:"rounds"`
}

// spreadOf summarises figures. Of none it is all zero.
func spreadOf(figures []float64) spread {
	if len(figures) == 0 {
		return spread{}
	}
	s := slices.Sorted(slices.Values(figures))
	middle := len(s) / 2
	median := s[middle]
	if len(s)%2 == 0 {
		median = (s[middle-1] + s[middle]) / 2
	}
	return spread{Median: median, Least: s[0], Most: s[len(s)-1], Rounds: len(s)}
}

// ratios divides figures that were measured in the same round. Rounds that one of both lacks are left out, as are
// those without a figure to divide by.
func ratios(ours, theirs map[int]float64) []float64 {
	var out []float64
	for round, a := range ours {
		if b := theirs[round]; b != 0 && !math.IsNaN(a) {
			out = append(out, a/b)
		}
	}
	return out
}
