package config

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestREADME holds README's table of keys to the code. With -update it writes it.
func TestREADME(t *testing.T) {
	const path = "../../README.md"
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, ok := strings.Cut(string(b), "<!-- keys:")
	note, rest, ok2 := strings.Cut(rest, "-->\n")
	got, after, ok3 := strings.Cut(rest, "<!-- /keys -->")
	if !ok || !ok2 || !ok3 {
		t.Fatal("README.md has lost the marks around its table of keys")
	}
	var want strings.Builder
	want.WriteString("\n")
	if err := WriteTable(&want); err != nil {
		t.Fatal(err)
	}
	want.WriteString("\n")
	if *update {
		text := before + "<!-- keys:" + note + "-->\n" + want.String() + "<!-- /keys -->" + after
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want.String(), got); diff != "" {
		t.Errorf("README.md differs from the code; write it with `go test ./agent/config -run README -update` (-want +got):\n%s", diff)
	}
}
