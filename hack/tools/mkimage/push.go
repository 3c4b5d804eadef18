package main

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// push uploads archives under the references they carry, with the credentials that docker login left.
func push(archives []string) error {
	if len(archives) == 0 {
		return errors.New("name the archives to push")
	}
	for _, archive := range archives {
		if err := pushArchive(archive); err != nil {
			return fmt.Errorf("push %s: %w", archive, err)
		}
	}
	return nil
}

func pushArchive(archive string) error {
	open := func() (io.ReadCloser, error) { return os.Open(archive) }
	manifest, err := tarball.LoadManifest(open)
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	if len(manifest) != 1 || len(manifest[0].RepoTags) != 1 {
		return errors.New("the archive does not hold exactly one image with one reference")
	}
	reference, err := name.NewTag(manifest[0].RepoTags[0], name.StrictValidation)
	if err != nil {
		return fmt.Errorf("read reference: %w", err)
	}
	image, err := tarball.Image(open, &reference)
	if err != nil {
		return fmt.Errorf("read image: %w", err)
	}
	if err := remote.Write(reference, image, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return fmt.Errorf("upload %s: %w", reference, err)
	}
	fmt.Println(reference)
	return nil
}
