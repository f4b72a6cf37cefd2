package manifests

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	kjson "sigs.k8s.io/json"
)

// fault is what is wrong with one field of an object.
type fault struct {
	field, value, message string
	mild                  bool // the object is good without the field
}

// strictly decodes text into value as the API server does with
// fieldValidation=Strict, but for fields that are not known: those are mild, as
// a newer API server writes fields that are not known here.
func strictly(text []byte, value any) []fault {
	unknown, err := kjson.UnmarshalStrict(text, value)
	if err == nil && len(unknown) == 0 {
		return nil
	}
	var tree any
	if err := json.Unmarshal(text, &tree); err != nil {
		return []fault{{message: err.Error()}}
	}
	var wrongType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrongType):
		field, value := locate(tree, wrongType)
		kind, _, _ := strings.Cut(wrongType.Value, " ")
		return []fault{{field: field, value: value, message: misfit(kind, wrongType.Type)}}
	case err != nil:
		return []fault{{message: strings.TrimPrefix(err.Error(), "json: ")}}
	}
	var out []fault
	for _, err := range unknown {
		var field kjson.FieldError
		if !errors.As(err, &field) {
			out = append(out, fault{message: err.Error()})
			continue
		}
		path := field.FieldPath()
		f := fault{field: path, value: brief(walk(tree, path))}
		f.message = strings.TrimSuffix(err.Error(), fmt.Sprintf(" %q", path)) + "; correct or remove it"
		if f.mild = f.message == unknownField && !restricts(path); f.mild {
			f.message = "unknown field, which has no effect; correct or remove it"
		}
		out = append(out, f)
	}
	return out
}

const unknownField = "unknown field; correct or remove it"

// restricts reports whether a field that is not known is likely to be meant to
// close a Service to some clients: without it, the Service would be open.
func restricts(path string) bool { return strings.Contains(strings.ToLower(path), "sourcerange") }

// misfit words that a JSON value of the kind does not fit the type. YAML takes
// y, no, 1.0 and the like for something else than a string.
func misfit(kind string, want reflect.Type) string {
	if want.Kind() == reflect.String && (kind == "bool" || kind == "number") {
		return fmt.Sprintf("it is a %s where a string is meant; quote it", kind)
	}
	return fmt.Sprintf("it is a JSON %s; write a value that fits %s", kind, want)
}

// check applies what the API server would to the fields that identify objects.
func check(o metav1.Object) []fault {
	var out []fault
	if why := validation.IsDNS1123Subdomain(o.GetName()); o.GetName() == "" {
		out = append(out, fault{field: "metadata.name", message: "it is missing; name the object"})
	} else if len(why) > 0 {
		out = append(out, fault{field: "metadata.name", value: o.GetName(), message: why[0]})
	}
	if ns := o.GetNamespace(); ns != "" {
		if why := validation.IsDNS1123Label(ns); len(why) > 0 {
			out = append(out, fault{field: "metadata.namespace", value: ns, message: why[0]})
		}
	}
	if _, slice := o.(*discoveryv1.EndpointSlice); slice && o.GetLabels()[discoveryv1.LabelServiceName] == "" {
		out = append(out, fault{field: "metadata.labels", message: "without the label " + discoveryv1.LabelServiceName + " the slice belongs to no Service; set it to the Service's name"})
	}
	return out
}

// locate finds the value of the wrong type: encoding/json names its field
// without the indices of lists.
func locate(tree any, e *json.UnmarshalTypeError) (path, value string) {
	kind, _, _ := strings.Cut(e.Value, " ")
	var find func(node any, at string, names []string) bool
	find = func(node any, at string, names []string) bool {
		if list, ok := node.([]any); ok && (len(names) > 0 || kind != "array") {
			for i, item := range list {
				if find(item, fmt.Sprintf("%s[%d]", at, i), names) {
					return true
				}
			}
			return false
		}
		if len(names) == 0 {
			path, value = strings.TrimPrefix(at, "."), brief(node)
			return kindOf(node) == kind
		}
		m, _ := node.(map[string]any)
		child, ok := m[names[0]]
		return ok && find(child, at+"."+names[0], names[1:])
	}
	if !find(tree, "", strings.Split(e.Field, ".")) {
		return e.Field, ""
	}
	return path, value
}

func kindOf(node any) string {
	switch node.(type) {
	case map[string]any:
		return "object"
	case []any:
		return "array"
	case string:
		return "string"
	case float64:
		return "number"
	case bool:
		return "bool"
	}
	return "null"
}

// walk follows a path as in "spec.ports[0].port"; nil where it ends early, as
// it does at keys that hold dots.
func walk(node any, path string) any {
	for _, part := range slices.DeleteFunc(strings.FieldsFunc(path, func(r rune) bool { return strings.ContainsRune(".[]", r) }),
		func(s string) bool { return s == "" }) {
		switch n := node.(type) {
		case map[string]any:
			node = n[part]
		case []any:
			i, err := strconv.Atoi(part)
			if err != nil || i < 0 || i >= len(n) {
				return nil
			}
			node = n[i]
		default:
			return nil
		}
	}
	return node
}

// brief shows a value in a problem; nothing for nil.
func brief(node any) string {
	const most = 80
	if node == nil {
		return ""
	}
	text, err := json.Marshal(node)
	if err != nil {
		return ""
	}
	if len(text) > most {
		return strings.ToValidUTF8(string(text[:most]), "") + "…"
	}
	return string(text)
}
