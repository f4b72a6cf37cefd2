package manifests

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/desired"
)

// file is what one file gives, and what it gave before that stays in force.
type file struct {
	sum     [sha256.Size]byte
	content                 // of the newest version that could be read
	kept    []object        // from versions before that
	unread  desired.Problem // why the file cannot be read now; zero if it can
}

// refresh brings s.files up to date with the directory and reports whether
// anything changed. Problems are those of the directory itself; then the files
// stay as they are.
func (s *Source) refresh() (changed bool, problems []desired.Problem) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return false, []desired.Problem{{File: s.dir, Message: reason(err) + "; create a directory that the agent can read. Until then nothing changes"}}
	}
	seen := map[string]bool{}
	for _, e := range entries {
		name := e.Name()
		if !counts(name) {
			continue
		}
		data, err := readRegular(filepath.Join(s.dir, name))
		if errors.Is(err, fs.ErrNotExist) && e.Type()&fs.ModeSymlink == 0 {
			continue // removed after ReadDir
		}
		seen[name] = true
		f, known := s.files[name]
		if !known {
			f = &file{}
			s.files[name] = f
		}
		if f.update(name, data, err) || !known {
			changed = true
		}
	}
	for name := range s.files {
		if !seen[name] {
			delete(s.files, name)
			changed = true
		}
	}
	return changed, nil
}

// counts leaves out what editors and ConfigMap volumes keep beside the files.
func counts(name string) bool {
	switch filepath.Ext(name) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(name, ".")
	}
	return false
}

// maxFile is far above what ten thousand Services need, in bytes.
const maxFile = 1 << 30

// readRegular follows symbolic links. It does not open what could block.
func readRegular(path string) ([]byte, error) {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, errors.New("not a regular file")
	case info.Size() > maxFile:
		return nil, fmt.Errorf("%d bytes are more than the %d that are read", info.Size(), maxFile)
	}
	return os.ReadFile(path)
}

// reason leaves out the operation and the path, which the problem names.
func reason(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err.Error()
	}
	return err.Error()
}

// update takes a new version of the file, or the error of reading it, and
// reports whether anything changed.
func (f *file) update(name string, data []byte, err error) bool {
	unread := f.unread
	f.unread = desired.Problem{}
	if err != nil {
		f.unread = desired.Problem{File: name, Message: reason(err) + "; correct or remove the file"}
		if len(f.objects)+len(f.kept) > 0 {
			f.unread.Message += stays
		}
		return f.unread != unread
	}
	sum := sha256.Sum256(data)
	if sum == f.sum {
		return f.unread != unread
	}
	before := append(slices.Clone(f.objects), f.kept...)
	f.sum, f.content, f.kept = sum, decode(name, data), nil
	if len(before) > 0 && len(bytes.TrimSpace(data)) == 0 {
		f.vague = true
		f.problems = append(f.problems, desired.Problem{File: name, Message: "the file is empty; remove it to remove its objects"})
	}
	for _, o := range before {
		if !f.gives(o.id) && (f.vague || f.spoilt[o.id] || f.spoilt[o.anyKind()]) {
			f.kept = append(f.kept, o)
		}
	}
	for i, p := range f.problems {
		if slices.ContainsFunc(f.kept, func(o object) bool { return concerns(p, o) }) {
			f.problems[i].Message += stays
		}
	}
	return true
}

// stays ends the message of a problem that takes nothing out of force.
const stays = ". Until then the last good version stays in force"

// concerns reports whether p is of o's document, or of one that could be.
func concerns(p desired.Problem, o object) bool {
	if p.Name == "" {
		return true
	}
	_, used := kinds[p.Kind]
	return p.Name == o.name && p.Namespace == o.namespace && (p.Kind == o.kind || !used)
}

func (c *content) gives(id id) bool {
	_, ok := c.at[id]
	return ok
}
