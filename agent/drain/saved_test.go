package drain

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestSaved(t *testing.T) {
	name := filepath.Join(t.TempDir(), "run", "drain.json")
	if s, err := Load(name); err != nil || s != (Saved{}) {
		t.Errorf("no file: %+v, %v", s, err)
	}
	want := Saved{Command: &Order{Why: "new RAM", Since: start, Timeout: 90}, Withdrawn: true}
	if err := want.Save(name); err != nil {
		t.Fatal(err)
	}
	got, err := Load(name)
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v: want -, got +\n%s", err, d)
	}
	if a := got.Command.Ask(); a.By != Command || a.Timeout != 90*time.Second || a.String() != "command: new RAM" {
		t.Errorf("asks %+v", a)
	}
	for range 2 {
		if err := (Saved{}).Save(name); err != nil {
			t.Errorf("forgotten: %v", err)
		}
	}
	if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file stayed: %v", err)
	}
}

func TestSavedFileThatCannotBeRead(t *testing.T) {
	name := filepath.Join(t.TempDir(), "drain.json")
	if err := os.WriteFile(name, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := Load(name)
	if s.Command == nil || !s.Withdrawn || err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "penstock undrain") {
		t.Errorf("%+v, %v", s, err)
	}
	if err := (Saved{Withdrawn: true}).Save(filepath.Join(name, "drain.json")); err == nil || !strings.Contains(err.Error(), "source.history") {
		t.Errorf("below a file: %v", err)
	}
}
