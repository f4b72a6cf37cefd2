// Command image builds Penstock's container image without a container engine: one archive with an image
// for each platform and an index over them. It is an OCI layout that containerd, skopeo, podman and
// Docker read.
//
// The same commit and the same Go release give the same bytes on every machine: the binary has no paths and no
// VCS stamp in it, the root certificates come from a module, files are of 1970 and owned by root, and
// the images are of the commit's time, or of SOURCE_DATE_EPOCH.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// repository is how the archive names the image; containerd puts docker.io/ before it, as Docker does.
const repository = "penstock-lb/penstock"

type options struct {
	out       string
	rootfs    string
	platforms []v1.Platform
	binary    string
	about     about
}

// validTag is what the OCI distribution specification allows.
var validTag = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$`)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil && !errors.Is(err, flag.ErrHelp) {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout io.Writer) error {
	o, err := parse(ctx, args)
	if err != nil {
		return err
	}
	if o.rootfs != "" {
		return o.writeRootfs(ctx)
	}
	if err := os.MkdirAll(filepath.Dir(o.out), 0o755); err != nil {
		return err
	}
	var images []v1.Image
	for _, p := range o.platforms {
		layers, err := o.layers(ctx, p)
		if err != nil {
			return fmt.Errorf("%s: %w", p, err)
		}
		if err := o.writeSBOM(p, layers); err != nil {
			return err
		}
		img, err := newImage(p, layers, o.about)
		if err != nil {
			return fmt.Errorf("image of %s: %w", p, err)
		}
		images = append(images, img)
	}
	return o.writeArchive(images, stdout)
}

func parse(ctx context.Context, args []string) (options, error) {
	var o options
	var platforms string
	flags := flag.NewFlagSet("image", flag.ContinueOnError)
	flags.StringVar(&o.out, "o", "bin/image/penstock.tar", "write the archive to this `file`")
	flags.StringVar(&o.rootfs, "rootfs", "", "write the files of the one platform below this `directory`, and no archive")
	flags.StringVar(&platforms, "platforms", "linux/amd64,linux/arm64", "build for these, separated by commas")
	flags.StringVar(&o.binary, "binary", "", "take this ready `file` for the one platform, and compile none")
	flags.StringVar(&o.about.version, "version", "", "the image's tag and the binary's version")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("argument %q is not understood: there are flags only, see -help", flags.Arg(0))
	}
	if !validTag.MatchString(o.about.version) {
		return o, fmt.Errorf("-version %q cannot be an image's tag: take letters, digits and . _ -, 128 at most, not . or - in front", o.about.version)
	}
	for s := range strings.SplitSeq(platforms, ",") {
		p, err := v1.ParsePlatform(s)
		if err != nil || p.OS != "linux" || (p.Architecture != "amd64" && p.Architecture != "arm64") {
			return o, fmt.Errorf("-platforms %s: %q is neither linux/amd64 nor linux/arm64", platforms, s)
		}
		o.platforms = append(o.platforms, *p)
	}
	if len(o.platforms) != 1 && (o.rootfs != "" || o.binary != "") {
		return o, errors.New("-rootfs and -binary are of one platform: name it by -platforms")
	}
	return o, o.about.fromCommit(ctx)
}

// writeRootfs writes what the image holds to a directory, for a Dockerfile to copy.
func (o options) writeRootfs(ctx context.Context) error {
	layers, err := o.layers(ctx, o.platforms[0])
	if err != nil {
		return err
	}
	for _, l := range layers {
		for _, f := range l.files {
			name := filepath.Join(o.rootfs, f.path)
			if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
				return err
			}
			if err := os.WriteFile(name, f.data, f.mode); err != nil {
				return err
			}
		}
	}
	return nil
}
