package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// user is a number and nobody's: Kubernetes can tell from the image alone that it does not run as root.
const user = "65532:65532"

// tagDigits is how much of the content's digest the tag shows.
const tagDigits = 12

// epoch is every time in the image: the content alone decides its bytes.
var epoch = time.Unix(0, 0).UTC()

// spec is what an image is made of.
type spec struct {
	repository  string
	tag         string
	version     string
	binary      string
	description string
}

func (s spec) validate() error {
	switch {
	case s.repository == "":
		return errors.New("-repository is missing")
	case s.binary == "":
		return errors.New("-binary is missing")
	case s.tag == "" && s.version == "":
		return errors.New("-tag or -version is missing")
	}
	return requireStatic(s.binary)
}

// requireStatic refuses a binary that cannot run in an image which holds nothing else.
func requireStatic(path string) error {
	file, err := elf.Open(path)
	if err != nil {
		return fmt.Errorf("read binary %s: %w", path, err)
	}
	defer file.Close()
	for _, program := range file.Progs {
		if program.Type == elf.PT_INTERP {
			return fmt.Errorf("binary %s is dynamically linked: build it with CGO_ENABLED=0", path)
		}
	}
	return nil
}

// write makes the image, writes it to output and returns its reference.
func write(s spec, output string) (name.Tag, error) {
	if err := s.validate(); err != nil {
		return name.Tag{}, err
	}
	image, err := makeImage(s)
	if err != nil {
		return name.Tag{}, err
	}
	reference, err := s.reference(image)
	if err != nil {
		return name.Tag{}, err
	}
	if err := os.MkdirAll(filepath.Dir(output), 0o755); err != nil {
		return name.Tag{}, fmt.Errorf("make folder of archive: %w", err)
	}
	// A reader never sees half an archive, and an archive that was there stays until the new one is whole.
	partial := output + ".partial"
	if err := tarball.WriteToFile(partial, reference, image); err != nil {
		return name.Tag{}, fmt.Errorf("write archive %s: %w", output, err)
	}
	if err := os.Rename(partial, output); err != nil {
		return name.Tag{}, fmt.Errorf("put archive in place: %w", err)
	}
	return reference, nil
}

// reference is the image's name; its tag tells images of different content apart.
func (s spec) reference(image v1.Image) (name.Tag, error) {
	tag := s.tag
	if tag == "" {
		digest, err := image.ConfigName()
		if err != nil {
			return name.Tag{}, fmt.Errorf("compute image's digest: %w", err)
		}
		tag = s.version + "-" + digest.Hex[:tagDigits]
	}
	reference, err := name.NewTag(s.repository+":"+tag, name.StrictValidation)
	if err != nil {
		return name.Tag{}, fmt.Errorf("name image: %w", err)
	}
	return reference, nil
}

func makeImage(s spec) (v1.Image, error) {
	content, err := layerContent(s.binary)
	if err != nil {
		return nil, err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
		return io.NopCloser(bytes.NewReader(content)), nil
	}, tarball.WithCompressionLevel(gzip.BestSpeed), tarball.WithCompressedCaching)
	if err != nil {
		return nil, fmt.Errorf("make layer: %w", err)
	}
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:   layer,
		History: v1.History{Created: v1.Time{Time: epoch}, CreatedBy: "mkimage"},
	})
	if err != nil {
		return nil, fmt.Errorf("add layer: %w", err)
	}
	image, err = mutate.ConfigFile(image, configFile(s, image))
	if err != nil {
		return nil, fmt.Errorf("set configuration: %w", err)
	}
	return image, nil
}

func configFile(s spec, image v1.Image) *v1.ConfigFile {
	// The configuration of an image in memory can always be read.
	file, err := image.ConfigFile()
	if err != nil {
		file = new(v1.ConfigFile)
	}
	file = file.DeepCopy()
	file.OS = "linux"
	file.Architecture = runtime.GOARCH
	file.Created = v1.Time{Time: epoch}
	file.Config = v1.Config{
		User:       user,
		Entrypoint: []string{"/" + filepath.Base(s.binary)},
		WorkingDir: "/",
		Labels:     labels(s),
	}
	return file
}

func labels(s spec) map[string]string {
	found := map[string]string{
		"org.opencontainers.image.title":       filepath.Base(s.repository),
		"org.opencontainers.image.description": s.description,
		"org.opencontainers.image.version":     s.version,
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.source":      "https://github.com/memkeep/memkeep",
	}
	for key, value := range found {
		if value == "" {
			delete(found, key)
		}
	}
	return found
}

// layerContent is a tar archive of the binary alone, owned by root so that its own user cannot write to it.
func layerContent(path string) ([]byte, error) {
	binary, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read binary: %w", err)
	}
	var content bytes.Buffer
	archive := tar.NewWriter(&content)
	err = archive.WriteHeader(&tar.Header{
		Name:    filepath.Base(path),
		Size:    int64(len(binary)),
		Mode:    0o755,
		ModTime: epoch,
		Format:  tar.FormatPAX,
	})
	if err != nil {
		return nil, fmt.Errorf("write layer's header: %w", err)
	}
	if _, err := archive.Write(binary); err != nil {
		return nil, fmt.Errorf("write layer: %w", err)
	}
	if err := archive.Close(); err != nil {
		return nil, fmt.Errorf("end layer: %w", err)
	}
	return content.Bytes(), nil
}
