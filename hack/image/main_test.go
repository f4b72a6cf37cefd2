package main

import (
	"strings"
	"testing"
)

// TestRefused: what cannot become an image is refused before anything is compiled.
func TestRefused(t *testing.T) {
	for _, c := range []struct{ args, want string }{
		{"", `-version ""`},
		{"-version v1+dirty", "cannot be an image's tag"},
		{"-version .v1", "cannot be an image's tag"},
		{"-version v1 -platforms linux/amd64,linux/riscv64", `"linux/riscv64" is neither`},
		{"-version v1 -platforms windows/amd64", `"windows/amd64" is neither`},
		{"-version v1 -binary penstock", "name it by -platforms"},
		{"-version v1 -rootfs dir", "name it by -platforms"},
		{"-version v1 amd64", `argument "amd64"`},
	} {
		_, err := parse(t.Context(), strings.Fields(c.args))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: error %v, want one with %s", c.args, err, c.want)
		}
	}
}

// TestLicenceName has names that modules really use.
func TestLicenceName(t *testing.T) {
	for name, want := range map[string]bool{
		"LICENSE": true, "LICENCE": true, "LICENSE.txt": true, "LICENSE.md": true, "LICENSE-APACHE-2.0.txt": true,
		"COPYING": true, "COPYING.md": true, "license": true, "LICENSE.BSD-2-Clause": true, "LICENSE.libyaml": true, "UNLICENSE": true,
		"NOTICE": false, "PATENTS": false, "NOTICE.txt": false,
	} {
		m := licenceName.FindStringSubmatch(name)
		if m == nil {
			t.Errorf("%s is not found", name)
		} else if (m[1] != "") != want {
			t.Errorf("%s: is a licence by itself: %t, want %t", name, m[1] != "", want)
		}
	}
	for _, name := range []string{"README.md", "licenses", "noticeboard.md"} {
		if licenceName.MatchString(name) {
			t.Errorf("%s is taken for a licence", name)
		}
	}
}
