// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func entry(
	manager string, operation metav1.ManagedFieldsOperationType, subresource, fields string,
) metav1.ManagedFieldsEntry {
	return metav1.ManagedFieldsEntry{
		Manager: manager, Operation: operation, Subresource: subresource, FieldsType: "FieldsV1",
		FieldsV1: &metav1.FieldsV1{Raw: []byte(fields)},
	}
}

func TestHandOver(t *testing.T) {
	const apply, update = metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate
	own := entry("memkeep", apply, "", `{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:ingress":{}}}`)
	tests := map[string]struct {
		entries []metav1.ManagedFieldsEntry
		// drifted tells whether somebody else owns a field of the spec.
		drifted bool
		// moved tells whether something is handed over.
		moved bool
		// fields is what is ours afterwards.
		fields string
	}{
		"nobody else": {[]metav1.ManagedFieldsEntry{own}, false, false, ""},
		"a stranger's update of the spec": {
			[]metav1.ManagedFieldsEntry{own, entry("kubectl-edit", update, "", `{"f:spec":{"f:egress":{}}}`)},
			true, true, `{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:egress":{},"f:ingress":{}}}`,
		},
		"a stranger's apply of the spec": {
			[]metav1.ManagedFieldsEntry{entry("argocd", apply, "", `{"f:spec":{"f:egress":{}}}`), own},
			true, true, `{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:egress":{},"f:ingress":{}}}`,
		},
		"a stranger's label": {
			[]metav1.ManagedFieldsEntry{own, entry("kubectl-label", update, "", `{"f:metadata":{"f:labels":{"f:b":{}}}}`)},
			false, false, "",
		},
		"a stranger who agrees with us": {
			[]metav1.ManagedFieldsEntry{own, entry("kubectl-edit", update, "", `{"f:spec":{"f:ingress":{}}}`)},
			false, true, `{"f:metadata":{"f:labels":{"f:a":{}}},"f:spec":{"f:ingress":{}}}`,
		},
		"a status": {
			[]metav1.ManagedFieldsEntry{own, entry("kube-controller-manager", update, "status", `{"f:spec":{"f:x":{}}}`)},
			false, false, "",
		},
		"our own create": {
			[]metav1.ManagedFieldsEntry{
				own, entry("memkeep", update, "", `{"f:metadata":{"f:labels":{"f:c":{}}},"f:spec":{"f:old":{}}}`),
			},
			false, true, `{"f:metadata":{"f:labels":{"f:a":{},"f:c":{}}},"f:spec":{"f:ingress":{},"f:old":{}}}`,
		},
	}
	for name, c := range tests {
		t.Run(name, func(t *testing.T) {
			drifted, err := foreignSpec(c.entries)
			if err != nil || drifted != c.drifted {
				t.Errorf("drifted %v, %v", drifted, err)
			}
			got, moved, err := handOver(c.entries)
			if err != nil || moved != c.moved {
				t.Fatalf("moved %v, %v", moved, err)
			}
			for i := range got {
				if !isOwn(&got[i]) {
					spec, _, err := splitSpec(&got[i])
					if moved && got[i].Subresource == "" && (err != nil || !spec.Empty()) {
						t.Errorf("%s still owns %s", got[i].Manager, spec)
					}
					continue
				}
				if moved && string(got[i].FieldsV1.GetRawBytes()) != c.fields {
					t.Errorf("ours are %s, want %s", got[i].FieldsV1.GetRawBytes(), c.fields)
				}
			}
		})
	}
}
