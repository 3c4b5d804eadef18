// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package effective

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// values is a set of states of one label: absent, or one of list; with but, any
// value except those of list. list is sorted.
type values struct {
	absent, but bool
	list        []string
}

var (
	anything = values{absent: true, but: true}
	present  = values{but: true}
	missing  = values{absent: true}
)

func oneOf(list ...string) values {
	list = slices.Clone(list)
	slices.Sort(list)
	return values{list: slices.Compact(list)}
}

func (v values) empty() bool { return !v.absent && !v.but && len(v.list) == 0 }

func (v values) not() values { return values{absent: !v.absent, but: !v.but, list: v.list} }

// and is what both have in common.
func (v values) and(o values) values {
	out := values{absent: v.absent && o.absent, but: v.but && o.but}
	switch {
	case v.but && o.but:
		out.list = oneOf(append(slices.Clone(v.list), o.list...)...).list
	case v.but:
		out.list = without(o.list, v.list)
	case o.but:
		out.list = without(v.list, o.list)
	default:
		out.list = without(v.list, without(v.list, o.list))
	}
	return out
}

// without is a less what is in b.
func without(a, b []string) []string {
	var out []string
	for _, s := range a {
		if !slices.Contains(b, s) {
			out = append(out, s)
		}
	}
	return out
}

// example is one of the states; not there means absent.
func (v values) example() (value string, there bool) {
	switch {
	case v.absent:
		return "", false
	case !v.but:
		return v.list[0], true
	}
	for i := 0; ; i++ {
		if value = fmt.Sprintf("other-%d", i); !slices.Contains(v.list, value) {
			return value, true
		}
	}
}

// dim is a label of a pod, or of its namespace.
type dim struct {
	pod bool
	key string
}

func (d dim) compare(o dim) int {
	if d.pod != o.pod {
		return map[bool]int{false: -1, true: 1}[d.pod]
	}
	return cmp.Compare(d.key, o.key)
}

// box is a set of pods: those whose every label is in its set. Labels that it
// does not name may be anything; with known, a namespace has no others.
type box struct {
	sets  map[dim]values
	known bool
}

// nameOf is the label that tells a namespace's name; every namespace has it.
var nameOf = dim{key: corev1.LabelMetadataName}

func (b *box) at(d dim) values {
	if v, ok := b.sets[d]; ok {
		return v
	}
	switch {
	case d == nameOf:
		return present
	case b.known && !d.pod:
		return missing
	}
	return anything
}

// with is the box with another set for a label.
func (b *box) with(d dim, v values) *box {
	sets := maps.Clone(b.sets)
	if sets == nil {
		sets = map[dim]values{}
	}
	sets[d] = v
	return &box{sets: sets, known: b.known}
}

func (b *box) empty() bool {
	for _, v := range b.sets {
		if v.empty() {
			return true
		}
	}
	return false
}

// dims are the labels that the box names, in order.
func (b *box) dims() []dim {
	return slices.SortedFunc(maps.Keys(b.sets), dim.compare)
}

var errSelector = errors.New("a selector makes no sense")

// require narrows the box to what a selector picks; nil picks everything.
func (b *box) require(pod bool, s *metav1.LabelSelector) (*box, error) {
	if s == nil {
		return b, nil
	}
	out := b
	narrow := func(key string, v values) {
		d := dim{pod, key}
		out = out.with(d, out.at(d).and(v))
	}
	for key, value := range s.MatchLabels {
		narrow(key, oneOf(value))
	}
	for _, e := range s.MatchExpressions {
		switch e.Operator {
		case metav1.LabelSelectorOpIn:
			narrow(e.Key, oneOf(e.Values...))
		case metav1.LabelSelectorOpNotIn:
			narrow(e.Key, oneOf(e.Values...).not())
		case metav1.LabelSelectorOpExists:
			narrow(e.Key, present)
		case metav1.LabelSelectorOpDoesNotExist:
			narrow(e.Key, missing)
		default:
			return nil, errSelector
		}
	}
	return out, nil
}

// maxSteps bounds a comparison; what takes longer counts as not covered.
const maxSteps = 20000

// beyond is a part of b that none of others covers; nil where they cover all of
// it. steps is what is left to spend.
func (b *box) beyond(others []*box, steps *int) *box {
	if *steps--; b.empty() {
		return nil
	}
	if len(others) == 0 {
		return b
	}
	if *steps < 0 {
		return b
	}
	o, more, rest := others[0], others[1:], b
	dims := o.dims()
	for _, d := range dims {
		if b.at(d).and(o.at(d)).empty() {
			return b.beyond(more, steps) // nothing in common
		}
	}
	for _, d := range dims {
		v, covered := rest.at(d), o.at(d)
		if outside := v.and(covered.not()); !outside.empty() {
			if found := rest.with(d, outside).beyond(more, steps); found != nil {
				return found
			}
		}
		rest = rest.with(d, v.and(covered))
	}
	return nil // the rest is in o
}

// example is a pod of the box: its namespace's labels and its own.
func (b *box) example() (namespace, pod map[string]string) {
	namespace, pod = map[string]string{}, map[string]string{}
	set := func(d dim) {
		if value, there := b.at(d).example(); there {
			map[bool]map[string]string{false: namespace, true: pod}[d.pod][d.key] = value
		}
	}
	set(nameOf)
	for _, d := range b.dims() {
		set(d)
	}
	return namespace, pod
}
