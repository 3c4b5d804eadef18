// Copyright The Memkeep Authors.
// SPDX-License-Identifier: Apache-2.0

//go:build e2e

package gitops

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const (
	examples = "../../examples/gitops"
	chart    = "../../charts/memkeep"
)

// repository is a local git repository that a test commits to.
type repository struct{ path string }

// repositories are the platform's and one for each way of applying.
type repositories struct {
	root     string
	platform repository
	teams    map[string]repository
}

// noCPU has Argo CD leave the autoscaler's own health out: the development
// cluster has no figures of CPU time, and an autoscaler without them is Degraded.
const (
	autoscaler = "kind: HorizontalPodAutoscaler\nmetadata:\n"
	noCPU      = autoscaler + "  annotations: {argocd.argoproj.io/ignore-healthcheck: \"true\"}\n"
)

// odd is spelled as the API server would not spell it.
const odd = `apiVersion: memkeep.io/v1alpha1
kind: Memcache
metadata:
  name: odd
spec:
  replicas: 0
  memory: 65536Ki
  cpu: "0.01"
  engine:
    maxItemSize: 1048576
    adminCommands: [Watch, FlushAll]
  placement:
    tolerations:
    - {key: node.example.com/dedicated, operator: Exists}
`

// makeRepositories lays the chart and the examples into git.
func makeRepositories() (repositories, error) {
	root, err := os.MkdirTemp("", "memkeep-gitops-")
	if err != nil {
		return repositories{}, err
	}
	r := repositories{root: root, teams: map[string]repository{}}
	if r.platform, err = makeRepository(root, "platform", chart, "charts/memkeep"); err != nil {
		return r, err
	}
	for _, m := range modes {
		if r.teams[m.name], err = makeRepository(root, m.namespace, examples+"/caches", "caches"); err != nil {
			return r, err
		}
	}
	return r, nil
}

// makeRepository makes a repository whose folder at has the files of from.
func makeRepository(root, name, from, at string) (repository, error) {
	r := repository{filepath.Join(root, name)}
	if err := os.CopyFS(filepath.Join(r.path, at), os.DirFS(from)); err != nil {
		return r, err
	}
	if at == "caches" {
		if err := r.adapt(at); err != nil {
			return r, err
		}
	}
	if _, err := r.git("init", "--quiet", "--initial-branch=main"); err != nil {
		return r, err
	}
	_, err := r.commit("as in the examples")
	return r, err
}

// adapt makes a team's folder fit for the test.
func (r repository) adapt(folder string) error {
	path := filepath.Join(r.path, folder, "autoscaled.yaml")
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !strings.Contains(string(data), autoscaler) {
		return fmt.Errorf("%s has no autoscaler", path)
	}
	return errors.Join(
		os.WriteFile(path, []byte(strings.Replace(string(data), autoscaler, noCPU, 1)), 0o600),
		os.WriteFile(filepath.Join(r.path, folder, "odd.yaml"), []byte(odd), 0o600))
}

// git runs git without any setting of the user's.
func (r repository) git(args ...string) (string, error) {
	cmd := exec.CommandContext(context.Background(), "git", args...)
	cmd.Dir = r.path
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1",
		"GIT_AUTHOR_NAME=test", "GIT_AUTHOR_EMAIL=test@memkeep.test",
		"GIT_COMMITTER_NAME=test", "GIT_COMMITTER_EMAIL=test@memkeep.test")
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// commit commits everything and returns the revision.
func (r repository) commit(message string) (string, error) {
	if _, err := r.git("add", "--all"); err != nil {
		return "", err
	}
	if _, err := r.git("commit", "--quiet", "--message="+message); err != nil {
		return "", err
	}
	return r.git("rev-parse", "HEAD")
}

// edit replaces a text that is in a file once, commits that and returns the revision.
func (r repository) edit(t *testing.T, file, old, now string) string {
	t.Helper()
	path := filepath.Join(r.path, file)
	data, err := os.ReadFile(path)
	check(t, err)
	if n := strings.Count(string(data), old); n != 1 {
		t.Fatalf("%s has %q %d times", file, old, n)
	}
	check(t, os.WriteFile(path, []byte(strings.Replace(string(data), old, now, 1)), 0o600))
	revision, err := r.commit(fmt.Sprintf("%s: %s, which was %s", file, strings.TrimSpace(now), strings.TrimSpace(old)))
	check(t, err)
	return revision
}

// remove removes a file and returns the revision.
func (r repository) remove(t *testing.T, file string) string {
	t.Helper()
	check(t, os.Remove(filepath.Join(r.path, file)))
	revision, err := r.commit(file + " goes")
	check(t, err)
	return revision
}
