package replace

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestFile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "made", "file")
	put := func(text string, then error) error {
		return File(name, func(w io.Writer) error {
			_, err := io.WriteString(w, text)
			return errors.Join(err, then)
		})
	}
	cut := errors.New("cut off")
	for _, step := range []struct {
		text string
		err  error
		want string
	}{{"first", nil, "first"}, {"half of the sec", cut, "first"}, {"third", nil, "third"}} {
		if err := put(step.text, step.err); !errors.Is(err, step.err) {
			t.Errorf("%q: %v, want %v", step.text, err, step.err)
		}
		if got, err := os.ReadFile(name); string(got) != step.want || err != nil {
			t.Errorf("after %q: %q, %v", step.text, got, err)
		}
		entries, err := os.ReadDir(filepath.Dir(name))
		if err != nil || len(entries) != 1 {
			t.Errorf("after %q: %v beside it, %v", step.text, entries, err)
		}
		if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("after %q: %v, %v", step.text, info, err)
		}
	}
}
