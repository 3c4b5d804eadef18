package main

import (
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// compile makes a static program whose content depends on text.
func compile(t *testing.T, text string) string {
	t.Helper()
	folder := t.TempDir()
	source := filepath.Join(folder, "main.go")
	code := "package main\n\nfunc main() { println(\"" + text + "\") }\n"
	if err := os.WriteFile(source, []byte(code), 0o600); err != nil {
		t.Fatalf("write source: %v", err)
	}
	program := filepath.Join(folder, "program")
	command := exec.CommandContext(t.Context(), "go", "build", "-o", program, source)
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("compile: %v\n%s", err, output)
	}
	return program
}

func writeImage(t *testing.T, s spec) (archive string, reference name.Tag) {
	t.Helper()
	archive = filepath.Join(t.TempDir(), "image.tar")
	reference, err := write(s, archive)
	if err != nil {
		t.Fatalf("write image: %v", err)
	}
	return archive, reference
}

func TestWrite(t *testing.T) {
	program := compile(t, "one")
	base := spec{repository: "example.com/team/program", version: "v1.2.3", binary: program, description: "a program"}
	archive, reference := writeImage(t, base)

	t.Run("the tag is the version and the content's digest", func(t *testing.T) {
		if !regexp.MustCompile(`^v1\.2\.3-[0-9a-f]{12}$`).MatchString(reference.TagStr()) {
			t.Errorf("tag is %q", reference.TagStr())
		}
	})
	t.Run("the same binary gives the same bytes", func(t *testing.T) {
		again, _ := writeImage(t, base)
		if !slices.Equal(read(t, archive), read(t, again)) {
			t.Error("two archives of one binary differ")
		}
	})
	t.Run("another binary gives another tag", func(t *testing.T) {
		other := base
		other.binary = compile(t, "two")
		if _, found := writeImage(t, other); found == reference {
			t.Errorf("both are %s", found)
		}
	})
	t.Run("the image runs the binary alone as a user that is not root", func(t *testing.T) {
		image, err := tarball.ImageFromPath(archive, &reference)
		if err != nil {
			t.Fatalf("read archive: %v", err)
		}
		checkConfig(t, image)
	})
}

func checkConfig(t *testing.T, image v1.Image) {
	t.Helper()
	file, err := image.ConfigFile()
	if err != nil {
		t.Fatalf("read configuration: %v", err)
	}
	found := file.Config
	if found.User != "65532:65532" || !slices.Equal(found.Entrypoint, []string{"/program"}) || found.Cmd != nil {
		t.Errorf("user %q, entrypoint %q, command %q", found.User, found.Entrypoint, found.Cmd)
	}
	if found.Labels["org.opencontainers.image.version"] != "v1.2.3" {
		t.Errorf("labels are %v", found.Labels)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Errorf("image has %d layers: %v", len(layers), err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return content
}

func TestWriteRefuses(t *testing.T) {
	text := filepath.Join(t.TempDir(), "text")
	if err := os.WriteFile(text, []byte("not a program"), 0o600); err != nil {
		t.Fatalf("write file: %v", err)
	}
	rows := map[string]struct {
		spec spec
		// want is part of the error.
		want string
	}{
		"a dynamically linked binary": {
			spec: spec{repository: "example.com/a", version: "v1", binary: "/bin/sh"},
			want: "dynamically linked",
		},
		"a file that is no binary":   {spec{repository: "example.com/a", version: "v1", binary: text}, "read binary"},
		"a binary that is not there": {spec{repository: "example.com/a", version: "v1", binary: "/none"}, "read binary"},
		"no repository":              {spec{version: "v1", binary: text}, "-repository is missing"},
		"no binary":                  {spec{repository: "example.com/a", version: "v1"}, "-binary is missing"},
		"neither tag nor version":    {spec{repository: "example.com/a", binary: text}, "-tag or -version is missing"},
	}
	for sentence, row := range rows {
		t.Run(sentence, func(t *testing.T) {
			archive := filepath.Join(t.TempDir(), "image.tar")
			_, err := write(row.spec, archive)
			if err == nil || !strings.Contains(err.Error(), row.want) {
				t.Errorf("error is %v, want one with %q", err, row.want)
			}
			if _, err := os.Stat(archive); err == nil {
				t.Error("an archive was written")
			}
		})
	}
}

func TestPushUploadsUnderTheReferenceInTheArchive(t *testing.T) {
	server := httptest.NewServer(registry.New())
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")
	archive, reference := writeImage(t, spec{
		repository: host + "/team/program", version: "v1.2.3", binary: compile(t, "pushed"),
	})
	if err := push([]string{archive}); err != nil {
		t.Fatalf("push: %v", err)
	}
	image, err := remote.Image(reference)
	if err != nil {
		t.Fatalf("pull what was pushed: %v", err)
	}
	checkConfig(t, image)
}
