package manifests

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"pgregory.net/rapid"
)

// wrong documents are all that decode refuses, each for another reason. %d keeps
// two of them from being duplicates of each other.
var wrong = []string{
	"{", "just text %d", "[%d]", "a: b: c %d", "kind: %d", "\tx", "- a\nb: c",
	"apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: x%d}",
	"apiVersion: v1\nkind: Service\nmetadata: {name: bad%d}\nspec: {loadBalancerSourceRange: [10.0.0.0/8]}",
	"apiVersion: v1\nkind: Service\nmetadata: {name: y} # %d",
	"apiVersion: v1\nkind: Service\nmetadata: {name: bad%d}\nspec: {ports: [{port: x}]}",
	"apiVersion: v1\nkind: Service\nmetadata: {name: bad%d}\nmetadata: {name: twice}",
	"apiVersion: v2\nkind: Service\nmetadata: {name: bad%d}",
	"apiVersion: v1\nkind: Service\nmetadata: {name: Bad%d}",
	"apiVersion: v1\nkind: Service\nmetadata: {}",
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: bad%d}\naddressType: IPv4",
}

// Whatever stands between them, good documents give the same objects.
func TestBadDocumentsCostOnlyThemselves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var good, all []string
		bad := 0
		for i := range rapid.IntRange(0, 8).Draw(t, "documents") {
			if rapid.Bool().Draw(t, "good") {
				good = append(good, service(fmt.Sprintf("svc-%d", i), "1"))
				all = append(all, good[len(good)-1])
				continue
			}
			text := rapid.SampledFrom(wrong).Draw(t, "wrong")
			all = append(all, strings.ReplaceAll(text, "%d", fmt.Sprint(i)))
			bad++
		}
		want := decode("f.yaml", []byte(strings.Join(good, "\n---\n")))
		got := decode("f.yaml", []byte(strings.Join(all, "\n---\n")))
		if diff := cmp.Diff(names(want), names(got)); diff != "" {
			t.Errorf("objects (-alone +among bad ones):\n%s", diff)
		}
		if len(got.problems) < bad {
			t.Errorf("%d problems of %d bad documents: %v", len(got.problems), bad, got.problems)
		}
		for _, p := range got.problems {
			if p.File != "f.yaml" || p.Document < 1 || p.Line < 1 || p.Message == "" {
				t.Errorf("problem without its place: %+v", p)
			}
		}
	})
}

func names(c content) []string {
	var out []string
	for _, o := range c.objects {
		out = append(out, o.namespace+"/"+o.name)
	}
	return out
}

func TestSplit(t *testing.T) {
	type doc struct {
		Text         string
		Number, Line int
	}
	tests := []struct {
		name, in string
		want     []doc
	}{
		{"empty", "", nil},
		{"comments", "# a\n\n---\n# b\n", nil},
		{"one", "a: b", []doc{{"a: b", 1, 1}}},
		{"marker first", "---\na: b\n", []doc{{"\na: b\n", 1, 2}}},
		{"two", "a: b\n---\n\nc: d\n", []doc{{"a: b\n", 1, 1}, {"\n\nc: d\n", 2, 4}}},
		{"end marker", "a: b\n...\n---\nc: d\n", []doc{{"a: b\n", 1, 1}, {"\nc: d\n", 2, 4}}},
		{"on the marker's line", "--- {a: b}\n--- # c\nd: e\n", []doc{{" {a: b}\n", 1, 1}, {" # c\nd: e\n", 2, 3}}},
		{"not a marker", "a: b\n----\n--- c\n", []doc{{"a: b\n----\n", 1, 1}, {" c\n", 2, 3}}},
		{"in a scalar", "a: |\n  ---\n", []doc{{"a: |\n  ---\n", 1, 1}}},
		{"carriage returns", "a: b\r\n---\r\nc: d\r\n", []doc{{"a: b\r\n", 1, 1}, {"\r\nc: d\r\n", 2, 3}}},
		{"directive", "%YAML 1.1\n---\na: b\n", []doc{{"\na: b\n", 1, 3}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []doc
			for _, d := range split([]byte(tt.in)) {
				got = append(got, doc{string(d.text), d.number, d.line})
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever the file, decode returns, says where each problem is, and gives no
// object twice.
func FuzzDecode(f *testing.F) {
	for _, text := range wrong {
		f.Add(text, false)
	}
	for _, script := range []string{"kinds", "problems", "lastgood", "duplicates"} {
		archive, err := txtar.ParseFile("testdata/" + script + ".txtar")
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if !strings.HasSuffix(file.Name, ".want") {
				f.Add(string(file.Data), strings.HasSuffix(file.Name, ".json"))
			}
		}
	}
	f.Fuzz(func(t *testing.T, text string, json bool) {
		name := "f.yaml"
		if json {
			name = "f.json"
		}
		c := decode(name, []byte(text))
		seen := map[id]bool{}
		for _, o := range c.objects {
			if seen[o.id] || o.name == "" || o.value == nil {
				t.Errorf("object %+v", o)
			}
			seen[o.id] = true
		}
		for _, p := range c.problems {
			if p.File == "" || p.Document < 1 || p.Line < 1 || p.Message == "" {
				t.Errorf("problem without its place: %+v", p)
			}
		}
		if len(c.problems) == 0 && (c.vague || len(c.spoilt) > 0) {
			t.Error("a document is refused without a problem")
		}
	})
}
