//go:build image

// Package image_test builds the images of the Dockerfile offline, from the binaries in bin/, and looks into them.
package image_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// uid is whom the images run as: a number, which Kubernetes can tell from root.
const uid = 65532

// builder runs buildah with a store of its own and settings that reach for no registry.
type builder struct {
	program    string
	repository string
	store      string
	policy     string
	registries string
}

func newBuilder(t *testing.T) *builder {
	t.Helper()
	program := os.Getenv("MEMKEEP_BUILDAH")
	if program == "" {
		t.Fatal("MEMKEEP_BUILDAH is not set: run make test-image")
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		t.Fatalf("find repository: %v", err)
	}
	folder := t.TempDir()
	b := &builder{
		program:    program,
		repository: repository,
		store:      filepath.Join(folder, "store"),
		policy:     filepath.Join(folder, "policy.json"),
		registries: filepath.Join(folder, "registries.conf"),
	}
	// Images of the local store alone are in play; the list of registries is empty.
	writeFile(t, b.policy, `{"default": [{"type": "insecureAcceptAnything"}]}`)
	writeFile(t, b.registries, "unqualified-search-registries = []\n")
	return b
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
}

// run runs buildah and returns what it prints.
func (b *builder) run(t *testing.T, args ...string) string {
	t.Helper()
	global := []string{
		"--storage-driver=vfs",
		"--root=" + filepath.Join(b.store, "root"),
		"--runroot=" + filepath.Join(b.store, "run"),
	}
	command := exec.CommandContext(t.Context(), b.program, append(global, args...)...)
	command.Dir = b.repository
	command.Env = append(os.Environ(), "CONTAINERS_REGISTRIES_CONF="+b.registries)
	var failure strings.Builder
	command.Stderr = &failure
	output, err := command.Output()
	if err != nil {
		t.Fatalf("buildah %s: %v\n%s%s", strings.Join(args, " "), err, output, failure.String())
	}
	return strings.TrimSpace(string(output))
}

// build builds one target of the Dockerfile and returns the image's name.
func (b *builder) build(t *testing.T, target string) string {
	t.Helper()
	image := "localhost/" + target + ":test"
	b.run(t, "bud", "--signature-policy="+b.policy, "--isolation=chroot", "--pull-never",
		"--build-arg=BIN_STAGE=prebuilt", "--target="+target, "--tag="+image, ".")
	return image
}

// config is what an image says about how it runs.
type config struct {
	User       string
	Entrypoint []string
	Cmd        []string
}

func (b *builder) config(t *testing.T, image string) config {
	t.Helper()
	output := b.run(t, "inspect", "--type=image", image)
	var found struct {
		OCIv1 struct {
			Config config `json:"config"`
		} `json:"OCIv1"`
	}
	if err := json.Unmarshal([]byte(output), &found); err != nil {
		t.Fatalf("read configuration of %s: %v\n%s", image, err, output)
	}
	return found.OCIv1.Config
}

// mount makes the image's files visible and returns where.
func (b *builder) mount(t *testing.T, image string) string {
	t.Helper()
	container := b.run(t, "from", "--signature-policy="+b.policy, "--pull-never", image)
	return b.run(t, "mount", container)
}

func TestDockerfile(t *testing.T) {
	b := newBuilder(t)
	targets := []struct {
		name string
		// version is the argument that makes the program print its version and end.
		version string
	}{
		{name: "manager", version: "--version"},
		{name: "cache-server", version: "-V"},
	}
	for _, target := range targets {
		t.Run(target.name, func(t *testing.T) {
			image := b.build(t, target.name)
			root := b.mount(t, image)
			t.Run("runs as a numeric user that is not root", func(t *testing.T) {
				if found := b.config(t, image).User; found != "65532:65532" {
					t.Errorf("user is %q", found)
				}
			})
			t.Run("starts its program and nothing else", func(t *testing.T) {
				found := b.config(t, image)
				if !slices.Equal(found.Entrypoint, []string{"/" + target.name}) || len(found.Cmd) > 0 {
					t.Errorf("entrypoint is %q, command is %q", found.Entrypoint, found.Cmd)
				}
			})
			t.Run("holds one file that its user can run but not change", func(t *testing.T) {
				checkFiles(t, root, target.name)
			})
			t.Run("prints its version with nothing but its own files at hand", func(t *testing.T) {
				checkVersion(t, root, "/"+target.name, target.version)
			})
		})
	}
}

// checkFiles wants the program to be the image's only file.
func checkFiles(t *testing.T, root, program string) {
	t.Helper()
	var files []string
	err := filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			files = append(files, strings.TrimPrefix(path, root+"/"))
		}
		return err
	})
	if err != nil {
		t.Fatalf("walk image: %v", err)
	}
	if !slices.Equal(files, []string{program}) {
		t.Fatalf("files are %q", files)
	}
	info, err := os.Stat(filepath.Join(root, program))
	if err != nil {
		t.Fatalf("look at program: %v", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || owner.Uid != 0 || info.Mode().Perm() != 0o755 {
		t.Errorf("program's mode is %v, its owner %+v", info.Mode(), owner)
	}
}

// checkVersion runs the program as the image's user with the image as its root.
func checkVersion(t *testing.T, root, program, argument string) {
	t.Helper()
	version, err := os.ReadFile("../../VERSION")
	if err != nil {
		t.Fatalf("read version: %v", err)
	}
	command := exec.CommandContext(t.Context(), program, argument)
	command.Dir = "/"
	command.Env = []string{}
	command.SysProcAttr = &syscall.SysProcAttr{
		Chroot:     root,
		Credential: &syscall.Credential{Uid: uid, Gid: uid},
	}
	output, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", program, argument, err, output)
	}
	want := strings.TrimPrefix(strings.TrimSpace(string(version)), "v")
	if !strings.Contains(string(output), want) {
		t.Errorf("%s %s printed %q, without version %s", program, argument, output, want)
	}
}
