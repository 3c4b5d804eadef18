// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestTheDocumentQuotesTheExamples: what users read is what Argo CD is given.
func TestTheDocumentQuotesTheExamples(t *testing.T) {
	document := read(t, "../../docs/gitops.md")
	files := map[string]string{}
	const root = "../../examples/gitops"
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files[path] = strings.TrimSpace(read(t, path))
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	quoted := map[string]bool{}
	for i, block := range strings.Split(document, "```yaml\n")[1:] {
		text, _, _ := strings.Cut(block, "```")
		found := false
		for path, content := range files {
			if content == strings.TrimSpace(text) {
				quoted[path], found = true, true
			}
		}
		if !found {
			t.Errorf("block %d is no file of the examples:\n%s", i+1, text)
		}
	}
	for path := range files {
		if name := filepath.Base(path); !quoted[path] && name != "spare.yaml" {
			t.Errorf("%s is not quoted", path)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
