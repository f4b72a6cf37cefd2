package config

import (
	"errors"
	"testing"

	"golang.org/x/tools/txtar"
)

// Whatever the file, Parse gives either a configuration that is valid, or an
// error of which each part says where it stands and what to do.
func FuzzParse(f *testing.F) {
	f.Add(DefaultFile())
	f.Add("a: &a {b: *a}\nbgp: *a")
	f.Add("bgp: &a {peers: [*a]}")
	f.Add("? [a]\n: b\n? {c: d}\n: e\n!!binary x: y\n<<: {node: a}")
	archive, err := txtar.ParseFile("testdata/errors.txtar")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range archive.Files {
		f.Add(string(file.Data))
	}
	f.Fuzz(func(t *testing.T, text string) {
		cfg, err := Parse("f.yaml", []byte(text), nil)
		if err == nil {
			if err := cfg.Validate(); err != nil {
				t.Errorf("Parse accepts what Validate refuses: %v", err)
			}
			if !Diff(cfg, cfg).Empty() {
				t.Error("a configuration differs from itself")
			}
			return
		}
		joined, ok := err.(interface{ Unwrap() []error })
		if cfg != nil || !ok {
			t.Fatalf("Parse = %v, %v", cfg, err)
		}
		for _, e := range joined.Unwrap() {
			var one *Error
			if !errors.As(e, &one) || one.Source == "" {
				t.Errorf("error without its place: %v", e)
			}
		}
	})
}
