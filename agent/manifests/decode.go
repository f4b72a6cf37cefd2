package manifests

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/penstock-lb/penstock/agent/desired"
)

// id tells objects apart. The kind is empty where it is not known.
type id struct{ kind, namespace, name string }

func (i id) anyKind() id { return id{"", i.namespace, i.name} }

// object is a good one, with its place.
type object struct {
	id
	value          any // *corev1.Service, *discoveryv1.EndpointSlice, *corev1.Pod or *corev1.Node
	document, line int
}

func (o object) problem(file, message string) desired.Problem {
	return desired.Problem{File: file, Document: o.document, Line: o.line, Kind: o.kind, Namespace: o.namespace, Name: o.name, Message: message}
}

// content is what one version of a file holds.
type content struct {
	objects  []object   // no two of one id
	at       map[id]int // of each object
	problems []desired.Problem
	spoilt   map[id]bool // defined by documents that are wrong
	vague    bool        // a document is wrong and does not say what it defines
}

// kinds are those that are used, with the only version that is.
var kinds = map[string]struct {
	version string
	cluster bool // not in a namespace
	new     func() metav1.Object
}{
	"Service":       {"v1", false, func() metav1.Object { return new(corev1.Service) }},
	"EndpointSlice": {"discovery.k8s.io/v1", false, func() metav1.Object { return new(discoveryv1.EndpointSlice) }},
	"Pod":           {"v1", false, func() metav1.Object { return new(corev1.Pod) }},
	"Node":          {"v1", true, func() metav1.Object { return new(corev1.Node) }},
}

// decode reads a file of the given name. What is wrong is in its problems.
func decode(name string, data []byte) content {
	c := content{at: map[id]int{}, spoilt: map[id]bool{}}
	if filepath.Ext(name) == ".json" {
		c.json(name, data)
		return c
	}
	for _, doc := range split(bytes.TrimPrefix(data, []byte("\xef\xbb\xbf"))) {
		d := decoder{content: &c, place: desired.Problem{File: name, Document: doc.number, Line: doc.line}}
		text, err := yaml.YAMLToJSONStrict(doc.text)
		if err == nil {
			d.object(text, "", "")
			continue
		}
		// The lenient reading tells what the document is about: it takes the
		// last of two equal keys.
		if text, lenient := yaml.YAMLToJSON(doc.text); lenient == nil {
			d.identify(text)
		}
		d.fault("", "", yamlError(doc, err))
	}
	return c
}

// yamlError words an error with the line of the file, where err counts from the
// document's beginning.
func yamlError(doc document, err error) string {
	if _, again := yaml.YAMLToJSONStrict(append(bytes.Repeat([]byte("\n"), doc.above), doc.text...)); again != nil {
		err = again
	}
	text := err.Error()
	for _, noise := range []string{"error converting YAML to JSON: ", "yaml: ", "unmarshal errors:\n  "} {
		text = strings.ReplaceAll(text, noise, "")
	}
	return strings.ReplaceAll(text, "\n  ", "; ") + "; correct the YAML"
}

// json reads JSON values one after the other.
func (c *content) json(name string, data []byte) {
	dec := json.NewDecoder(bytes.NewReader(data))
	for number := 1; ; number++ {
		rest := bytes.TrimLeft(data[dec.InputOffset():], " \t\r\n")
		d := decoder{content: c, place: desired.Problem{File: name, Document: number, Line: 1 + bytes.Count(data[:len(data)-len(rest)], []byte("\n"))}}
		var value json.RawMessage
		err := dec.Decode(&value)
		if err == io.EOF {
			return
		}
		if err != nil {
			d.fault("", "", err.Error()+"; correct the JSON")
			return
		}
		d.object(value, "", "")
	}
}

// decoder reads one document or one item of a List.
type decoder struct {
	*content
	place desired.Problem // File, Document and Line, then what the object says of itself
}

func (d *decoder) problem(field, value, message string) desired.Problem {
	p := d.place
	p.Field, p.Value, p.Message = field, value, message
	return p
}

// fault notes a problem, and what may stay in force because of it.
func (d *decoder) fault(field, value, message string) {
	p := d.problem(field, value, message)
	d.problems = append(d.problems, p)
	switch _, used := kinds[p.Kind]; {
	case p.Name == "":
		d.vague = true
	case used:
		d.spoilt[id{p.Kind, p.Namespace, p.Name}] = true
	default:
		d.spoilt[id{"", p.Namespace, p.Name}] = true
	}
}

// head is what every object says of itself.
type head struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Metadata   struct {
		Name      string `json:"name"`
		Namespace string `json:"namespace"`
	} `json:"metadata"`
	Items []json.RawMessage `json:"items"`
}

func (d *decoder) identify(text []byte) (head, error) {
	var h head
	err := json.Unmarshal(text, &h)
	if err == nil {
		d.place.Kind, d.place.Name, d.place.Namespace = h.Kind, h.Metadata.Name, h.Metadata.Namespace
		if k := kinds[h.Kind]; k.cluster {
			d.place.Namespace = ""
		} else if d.place.Namespace == "" {
			d.place.Namespace = metav1.NamespaceDefault
		}
	}
	return h, err
}

// foreign notes a document of which not even the head can be read.
func (d *decoder) foreign(err error) {
	field, what := "", strings.TrimPrefix(err.Error(), "json: ")
	if wrongType, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		field, what = wrongType.Field, "it is a JSON "+wrongType.Value
		if strings.HasPrefix(field, "metadata.") {
			d.fault(field, "", misfit(wrongType.Value, wrongType.Type))
			return
		}
	}
	d.fault(field, "", "not a Kubernetes object: "+what+"; write apiVersion, kind and metadata.name")
}

// object reads an object, whose version and kind a typed List need not repeat.
func (d *decoder) object(text []byte, version, kind string) {
	h, err := d.identify(text)
	if err != nil {
		d.place.Kind = h.Kind
		d.foreign(err)
		return
	}
	if h.Kind == "" && h.APIVersion == "" && kind != "" {
		h.Kind, h.APIVersion, d.place.Kind = kind, version, kind
		if kinds[kind].cluster {
			d.place.Namespace = ""
		}
	}
	k, used := kinds[h.Kind]
	item := strings.TrimSuffix(h.Kind, "List")
	switch _, typed := kinds[item]; {
	case h.Kind == "":
		d.fault("kind", "", "not a Kubernetes object: it has no kind")
	case used && h.APIVersion != k.version:
		d.fault("apiVersion", h.APIVersion, "only "+k.version+" is read; convert the object")
	case used:
		d.typed(text, k.new())
	case h.Kind == "List" || typed && item != h.Kind:
		d.list(h, kinds[item].version, item)
	default:
		d.fault("kind", h.Kind, "it is not used; remove it, or correct it to Service, EndpointSlice, Pod, Node or List")
	}
}

func (d *decoder) list(h head, version, kind string) {
	for i, text := range h.Items {
		item := decoder{content: d.content, place: desired.Problem{File: d.place.File, Document: d.place.Document, Line: d.place.Line}}
		if sub, err := item.identify(text); err == nil && strings.HasSuffix(sub.Kind, "List") {
			item.fault(fmt.Sprintf("items[%d].kind", i), sub.Kind, "a List within a List is not read; put its items here")
			continue
		}
		item.object(text, version, kind)
	}
}

// note reports whether the object is good in spite of the faults.
func (d *decoder) note(faults []fault) bool {
	good := true
	for _, f := range faults {
		if f.mild {
			d.problems = append(d.problems, d.problem(f.field, f.value, f.message))
			continue
		}
		d.fault(f.field, f.value, f.message)
		good = false
	}
	return good
}

// typed decodes into value and takes it if it is good.
func (d *decoder) typed(text []byte, value metav1.Object) {
	faults := strictly(text, value)
	if _, pod := value.(*corev1.Pod); pod {
		faults = slices.DeleteFunc(faults, ofNewerPods)
	}
	if !d.note(faults) {
		return
	}
	value.SetNamespace(d.place.Namespace)
	if !d.note(check(value)) {
		return
	}
	o := object{id: id{d.place.Kind, d.place.Namespace, d.place.Name}, value: value, document: d.place.Document, line: d.place.Line}
	if pod, ok := value.(*corev1.Pod); ok {
		o.value = desired.SlimPod(pod)
	}
	if twin, twice := d.at[o.id]; twice {
		first := fmt.Sprintf("document %d", d.objects[twin].document)
		d.problems = append(d.problems, o.problem(d.place.File, first+" defines it too and is used; remove one of them"))
		return
	}
	d.at[o.id] = len(d.objects)
	d.objects = append(d.objects, o)
}

// ofNewerPods tells fields that newer clusters write into each of their pods. Pods
// are many, nobody writes them by hand, and of what is in there hardly anything is read.
func ofNewerPods(f fault) bool {
	return f.mild && (strings.HasPrefix(f.field, "spec.") || strings.HasPrefix(f.field, "status."))
}
