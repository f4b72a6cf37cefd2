// Package manifests is a source of Kubernetes objects that needs no cluster: a
// directory of ordinary YAML and JSON files, as kubectl prints them.
//
// Files named *.yaml, *.yml and *.json count, but for those that begin with a
// dot or end in a tilde; subdirectories do not. A file holds any number of
// documents, each a v1 Service, a discovery.k8s.io/v1 EndpointSlice, a v1 Pod, a
// v1 Node or a List of them. Without a namespace an object is in "default". Where two
// documents define one object, the first file by name has it.
//
// Fields that are not known are problems and otherwise ignored, as newer clusters
// write newer fields, unless one is likely to be meant for source ranges; in the spec
// and status of Pods they are not even problems. Beyond
// that documents are decoded strictly, and one that is wrong costs only itself. What
// was good stays in force while it is being edited: of an object whose document
// has become wrong, the last good version counts; where a document cannot even
// be told to which object it belongs, as in a file that is half written, so do
// all objects that the file gave before and no longer gives; where a file or
// the directory cannot be read, all of it. Removing a document, a file or the
// objects from a readable directory removes the objects.
package manifests
