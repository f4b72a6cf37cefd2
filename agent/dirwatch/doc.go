// Package dirwatch tells when something in a few directories may have changed.
// It says nothing about what: its users read everything again and compare, so
// that a lost event costs a delay and never a wrong state.
//
// Directories are watched rather than files, because files are replaced by
// rename, by editors and by the symbolic links of a ConfigMap volume. A
// directory that is missing or goes away is tried again until it is there. File
// systems that report no changes (NFS) and links that lead out of the directory
// are covered by a periodic call.
package dirwatch
