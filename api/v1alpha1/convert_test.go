// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"reflect"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestSelectorsReadAsKubernetesReadsThem decodes one text both ways: whoever
// writes a selector expects it to mean what it means in a NetworkPolicy.
func TestSelectorsReadAsKubernetesReadsThem(t *testing.T) {
	for name, text := range map[string]string{
		"an empty selector": `{}`,
		"labels":            `{"matchLabels":{"a":"b","c":""}}`,
		"operators with values": `{"matchExpressions":[{"key":"a","operator":"In","values":["b","c"]},` +
			`{"key":"d","operator":"NotIn","values":["e"]}]}`,
		"operators without":   `{"matchExpressions":[{"key":"f","operator":"Exists"},{"key":"g","operator":"DoesNotExist"}]}`,
		"both together":       `{"matchLabels":{"a":"b"},"matchExpressions":[{"key":"a","operator":"Exists"}]}`,
		"an In without value": `{"matchExpressions":[{"key":"a","operator":"In"}]}`,
	} {
		t.Run(name, func(t *testing.T) {
			var ours LabelSelector
			var theirs metav1.LabelSelector
			if err := json.Unmarshal([]byte(text), &ours); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(text), &theirs); err != nil {
				t.Fatal(err)
			}
			if got := ours.ToMetav1(); !reflect.DeepEqual(got, &theirs) {
				t.Errorf("got %+v, want %+v", got, &theirs)
			}
			back, err := json.Marshal(ours)
			if err != nil || string(back) != text {
				t.Errorf("written again it is %s, %v; want %s", back, err, text)
			}
		})
	}
}

func TestAnAbsentSelectorStaysAbsent(t *testing.T) {
	var s *LabelSelector
	if got := s.ToMetav1(); got != nil {
		t.Errorf("got %+v: an empty selector matches everything, an absent one nothing", got)
	}
}

func TestTolerationsReadAsKubernetesReadsThem(t *testing.T) {
	for name, text := range map[string]string{
		"everything":        `{"operator":"Exists"}`,
		"all fields":        `{"key":"a","operator":"Equal","value":"b","effect":"NoExecute","tolerationSeconds":60}`,
		"stay not a moment": `{"key":"a","operator":"Exists","effect":"NoExecute","tolerationSeconds":0}`,
		"a key alone":       `{"key":"a"}`,
	} {
		t.Run(name, func(t *testing.T) {
			var ours Toleration
			var theirs corev1.Toleration
			if err := json.Unmarshal([]byte(text), &ours); err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal([]byte(text), &theirs); err != nil {
				t.Fatal(err)
			}
			if got := ours.ToCorev1(); !reflect.DeepEqual(got, theirs) {
				t.Errorf("got %+v, want %+v", got, theirs)
			}
		})
	}
}

func TestNodeLabels(t *testing.T) {
	if got := (&PlacementSpec{}).NodeLabels(); got != nil {
		t.Errorf("without nodeSelector: got %v, want nil", got)
	}
	p := &PlacementSpec{NodeSelector: map[string]LabelValue{"a": "b"}}
	if got := p.NodeLabels(); !reflect.DeepEqual(got, map[string]string{"a": "b"}) {
		t.Errorf("got %v", got)
	}
}

func TestTheClientLabelNamesNamespaceAndFleet(t *testing.T) {
	if got := ClientLabel("caches", "sessions"); got != "client.memkeep.io/caches.sessions" {
		t.Errorf("got %s", got)
	}
}

// TestAFreshObjectIsWrittenShort makes sure that Go programs do not write empty
// parts, which server-side apply would take for owned.
func TestAFreshObjectIsWrittenShort(t *testing.T) {
	m := Memcache{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	got, err := json.Marshal(m)
	if err != nil || string(got) != `{"metadata":{"name":"a"}}` {
		t.Errorf("got %s, %v", got, err)
	}
}
