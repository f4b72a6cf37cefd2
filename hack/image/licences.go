package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// goModule and goPackage are what `go list` says of them.
type goModule struct {
	Path, Version, Dir string
	Main               bool
}

type goPackage struct {
	ImportPath, Dir string
	Standard        bool
	Module          *goModule
}

// licenceName is what licence texts are called; notices and patent grants have to go with them. The
// first group is there if it is a licence by itself.
var licenceName = regexp.MustCompile(`(?i)^(?:((?:un)?licen[cs]e|copying)|notice|patents|copyright)(?:[._-].*)?$`)

// licences finds the texts of all that is linked into the binary of a platform: in the folder of each
// package and above it up to its module's, so that code which a module took over from elsewhere brings
// its own. They keep their places, below the module's path and version.
func licences(ctx context.Context, p v1.Platform) ([]file, error) {
	packages, err := linked(ctx, p)
	if err != nil {
		return nil, err
	}
	found := map[string]file{} // by path
	free := map[string]bool{}  // modules, by path, whether they have a licence
	for _, pkg := range packages {
		m := pkg.Module
		free[m.Path] = free[m.Path] || false
		for dir := pkg.Dir; ; dir = filepath.Dir(dir) {
			whole, err := addTexts(found, m, dir)
			if err != nil {
				return nil, err
			}
			free[m.Path] = free[m.Path] || whole
			if dir == m.Dir {
				break
			}
		}
	}
	var errs []error
	for m, ok := range free {
		if !ok {
			errs = append(errs, fmt.Errorf("module %s has no licence text: it must not be linked in, or licenceName has to learn what its file is called", m))
		}
	}
	files := make([]file, 0, len(found))
	for _, f := range found {
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b file) int { return cmp.Compare(a.path, b.path) })
	return files, errors.Join(errs...)
}

// linked lists the packages in the binary of a platform, each with its module. Go's own come as one, and
// so does what the root certificates are from.
func linked(ctx context.Context, p v1.Platform) ([]goPackage, error) {
	const fields = "-json=ImportPath,Dir,Standard,Module"
	out, err := goTool(ctx, p, "list", "-deps", fields, mainPackage, rootsModule+"/bundle")
	if err != nil {
		return nil, err
	}
	packages, err := decodeAll[goPackage](out)
	if err != nil {
		return nil, fmt.Errorf("go list: %w", err)
	}
	packages = slices.DeleteFunc(packages, func(p goPackage) bool { return p.Standard })
	out, err = goTool(ctx, p, "env", "GOROOT", "GOVERSION")
	if err != nil {
		return nil, err
	}
	root, version, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	std := goModule{Path: "go", Version: version, Dir: filepath.Clean(root)}
	return append(packages, goPackage{ImportPath: "std", Dir: std.Dir, Module: &std}), nil
}

// addTexts adds the texts in one folder of a module, and says whether there is a licence among them.
func addTexts(found map[string]file, m *goModule, dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return false, err
	}
	below, err := filepath.Rel(m.Dir, dir)
	if err != nil {
		return false, err
	}
	home := m.Path
	if m.Version != "" {
		home += "@" + m.Version
	}
	licence := false
	for _, e := range entries {
		match := licenceName.FindStringSubmatch(e.Name())
		if match == nil || e.IsDir() || filepath.Ext(e.Name()) == ".go" {
			continue
		}
		licence = licence || match[1] != ""
		name := path.Join(licencesPath, home, filepath.ToSlash(below), e.Name())
		if _, ok := found[name]; ok {
			continue
		}
		data, err := os.ReadFile(filepath.Join(dir, e.Name()))
		if err != nil {
			return false, err
		}
		found[name] = file{path: name, mode: 0o644, data: data}
	}
	return licence, nil
}
