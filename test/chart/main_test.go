// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build chart

// Package chart tests the Helm chart without a cluster: with Helm 3 and Helm 4
// as people run them, with helm-unittest, and with a real API server that is
// asked what it would say of each object.
package chart

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/memkeep/memkeep/test/helmcli"
	"github.com/memkeep/memkeep/test/manifests"
)

const (
	root    = "../.."
	chart   = root + "/charts/memkeep"
	release = "memkeep"
	space   = "memkeep-system"
	// hookAnnotation marks what `helm test` does.
	hookAnnotation = "helm.sh/hook"
)

// helms are Helm 4 and Helm 3.
var helms []helmcli.Helm

func TestMain(m *testing.M) {
	var err error
	if helms, err = helmcli.Both(os.DevNull); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// matrix are the files of values that the chart is tried with.
func matrix(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(chart + "/ci/*-values.yaml")
	if err != nil || len(files) < 4 {
		t.Fatalf("found %v, %v: want the matrix of values", files, err)
	}
	return files
}

// render returns what `helm template` prints.
func render(t *testing.T, helm helmcli.Helm, more ...string) string {
	t.Helper()
	out, err := try(t, helm, more...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func try(t *testing.T, helm helmcli.Helm, more ...string) (string, error) {
	t.Helper()
	return helm.Run(t.Context(), append([]string{"template", release, chart, "--namespace", space}, more...)...)
}

// parse parses a rendering.
func parse(t *testing.T, text string) []*unstructured.Unstructured {
	t.Helper()
	objects, err := manifests.Parse(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// id names an object.
func id(u *unstructured.Unstructured) string {
	return strings.TrimSuffix(u.GetKind()+" "+u.GetNamespace(), " ") + "/" + u.GetName()
}

// kustomize builds a folder of the repository.
func kustomize(t *testing.T, folder string) []*unstructured.Unstructured {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "tool", "-modfile=hack/tools/go.mod", "kustomize", "build", folder)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("kustomize build %s: %v\n%s", folder, err, &stderr)
	}
	return parse(t, string(out))
}
