// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"encoding/json"
	"fmt"
	"reflect"

	"sigs.k8s.io/controller-runtime/pkg/client"
)

// difference compares two states of an object by what a user wrote or sees;
// bookkeeping and status are left out. It is empty when they are the same.
func difference(a, b client.Object) string {
	left, right := essence(a), essence(b)
	if reflect.DeepEqual(left, right) {
		return ""
	}
	return fmt.Sprintf("%v, want %v", right, left)
}

func essence(o client.Object) map[string]any {
	data, err := json.Marshal(o)
	if err != nil {
		panic(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		panic(err)
	}
	delete(out, "status")
	meta := out["metadata"].(map[string]any)
	for _, key := range []string{"managedFields", "resourceVersion", "generation"} {
		delete(meta, key)
	}
	return out
}
