// Package config reads the agent's configuration: a YAML file, overridden by
// the environment (PENSTOCK_DATAPATH_BPFFS for datapath.bpffs), overridden by
// flags (--datapath-bpffs).
//
// One table, behind [Keys], holds each key's name, default, meaning and whether
// a running agent can apply a change of it. Parsing, flags, [Diff], the
// documented default file and the table in the README all come from it.
//
// Everything is strict: a key that is not known, a value that is not of the
// key's type or range and a contradiction between keys are errors. All of them
// are reported at once, each with where it stands, the key, the value and the
// way out. Nothing is half applied: [Load] gives a whole valid configuration or
// an error, and [Watcher] keeps the last good one in force.
package config
