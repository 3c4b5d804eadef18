// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

// Command chart writes what the Helm chart has from elsewhere: the objects of
// config/ into its folder files/, the versions of the file VERSION into
// Chart.yaml, and values.schema.json and README.md from the commented
// values.yaml. `make generate` runs it at the top of the repository.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

const (
	config = "config"
	chart  = "charts/memkeep"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chart READER-ROLE, at the top of the repository")
		os.Exit(2)
	}
	if err := run(".", os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// run writes the chart of the repository at root. reader is a file with the
// ClusterRole of what the operator reads of others.
func run(root, reader string) error {
	objects, err := files(filepath.Join(root, config), reader)
	if err != nil {
		return err
	}
	folder := filepath.Join(root, chart)
	if err := os.RemoveAll(filepath.Join(folder, "files")); err != nil {
		return fmt.Errorf("remove the files of before: %w", err)
	}
	for name, content := range objects {
		if err := write(filepath.Join(folder, "files", name), content); err != nil {
			return err
		}
	}
	values, err := readValues(filepath.Join(folder, "values.yaml"))
	if err != nil {
		return err
	}
	schema, err := values.schema()
	if err != nil {
		return err
	}
	return errors.Join(
		write(filepath.Join(folder, "values.schema.json"), schema),
		write(filepath.Join(folder, "README.md"), values.readme()),
		versions(root, folder),
	)
}

func write(path string, content []byte) error {
	//nolint:gosec // A chart is for everybody to read.
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("write the chart: %w", err)
	}
	//nolint:gosec // A chart is for everybody to read.
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return fmt.Errorf("write the chart: %w", err)
	}
	return nil
}

// versionLines are those of Chart.yaml that name the release: the chart's own
// version, without v, and with v the app's and those of images.
var versionLines = regexp.MustCompile(`(?m)^(version: |appVersion: v|      image: \S+:v)\S+$`)

// versions writes the release's version into Chart.yaml.
func versions(root, folder string) error {
	version, err := os.ReadFile(filepath.Join(root, "VERSION")) //nolint:gosec // A file of the repository.
	if err != nil {
		return fmt.Errorf("read the version: %w", err)
	}
	path := filepath.Join(folder, "Chart.yaml")
	meta, err := os.ReadFile(path) //nolint:gosec // A file of the repository.
	if err != nil {
		return fmt.Errorf("read the chart: %w", err)
	}
	number := strings.TrimPrefix(strings.TrimSpace(string(version)), "v")
	return write(path, versionLines.ReplaceAll(meta, []byte("${1}"+number)))
}

// document is a YAML document as it is read.
type document = map[string]any

// documents are the documents of a YAML file.
func documents(path string) ([]document, error) {
	raw, err := os.ReadFile(path) //nolint:gosec // Files of the repository.
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	var out []document
	for decoder := newDecoder(bytes.NewReader(raw)); ; {
		d := document{}
		err := decoder.Decode(&d)
		if errors.Is(err, io.EOF) {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", path, err)
		}
		if len(d) > 0 {
			out = append(out, d)
		}
	}
}
