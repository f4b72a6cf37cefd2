package api

import (
	"errors"

	"github.com/penstock-lb/penstock/agent/config"
)

// Configured is an Agent that says which configuration is in force, without secrets.
type Configured interface {
	InForce() config.Dump
}

func inForce(agent Agent) (any, error) {
	if c, ok := agent.(Configured); ok {
		return c.InForce(), nil
	}
	return nil, errors.New("an agent of role backend does not tell its configuration; compare the files")
}
