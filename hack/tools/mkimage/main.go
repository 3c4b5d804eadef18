// Command mkimage makes container images of one static binary each, without a builder, a daemon or a registry.
//
//	mkimage build -output manager.tar -repository memkeep.io/manager -version v0.1.0 -binary bin/manager
//	mkimage push manager.tar...
//
// build writes a docker-archive, which containerd, docker, podman and kind load, and prints the image's reference. The
// same binary gives the same bytes at any time on any machine, and the tag names the content, so that two images never
// share a reference. push uploads such archives to the registries that their references name.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "mkimage:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 0 {
		return errors.New("write mkimage build or mkimage push")
	}
	switch args[0] {
	case "build":
		return build(args[1:])
	case "push":
		return push(args[1:])
	default:
		return fmt.Errorf("unknown command %q: write build or push", args[0])
	}
}

func build(args []string) error {
	var s spec
	flags := flag.NewFlagSet("mkimage build", flag.ContinueOnError)
	output := flags.String("output", "", "archive to write")
	flags.StringVar(&s.repository, "repository", "", "name of the image without a tag, for example memkeep.io/manager")
	flags.StringVar(&s.tag, "tag", "", "tag; without it one is derived from -version and the content")
	flags.StringVar(&s.version, "version", "", "version the derived tag begins with, and the image's version label")
	flags.StringVar(&s.binary, "binary", "", "static binary; it becomes the entrypoint, at the root of the image")
	flags.StringVar(&s.description, "description", "", "text of the image's description label")
	if err := flags.Parse(args); err != nil {
		return fmt.Errorf("read flags: %w", err)
	}
	if flags.NArg() > 0 {
		return fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *output == "" {
		return errors.New("-output is missing")
	}
	reference, err := write(s, *output)
	if err != nil {
		return err
	}
	fmt.Println(reference)
	return nil
}
