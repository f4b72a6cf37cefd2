package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
)

// configPath is the configuration file: the one that is named, or the default
// one if it exists, or none.
func (c *cli) configPath() (path string, named bool) {
	if path := cmp.Or(c.config, os.Getenv("PENSTOCK_CONFIG")); path != "" {
		return path, true
	}
	if _, err := os.Stat(config.DefaultPath); errors.Is(err, fs.ErrNotExist) {
		return "", false
	}
	return config.DefaultPath, false
}

// places are where the agent's socket and its tables are: flag over environment
// over configuration file over default. A default file that cannot be used is
// mentioned and not needed.
func (c *cli) places() (socket, bpffs string, err error) {
	socket = cmp.Or(c.socket, os.Getenv("PENSTOCK_API_SOCKET"))
	bpffs = cmp.Or(c.bpffs, os.Getenv("PENSTOCK_DATAPATH_BPFFS"))
	path, named := c.configPath()
	if path == "" || socket != "" && bpffs != "" {
		def := config.Default()
		return cmp.Or(socket, def.API.Socket), cmp.Or(bpffs, def.Datapath.BPFFS), nil
	}
	cfg, err := config.Load(path, nil)
	switch {
	case err != nil && named:
		return "", "", err
	case err != nil:
		c.mention("%s is not used: %v", path, err)
		cfg = config.Default()
	}
	return cmp.Or(socket, cfg.API.Socket), cmp.Or(bpffs, cfg.Datapath.BPFFS), nil
}

// mention tells people something that programs need not know, once.
func (c *cli) mention(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !slices.Contains(c.mentioned, text) {
		c.mentioned = append(c.mentioned, text)
		fmt.Fprintf(c.stderr, "penstock: %s\n", text)
	}
}

// ask asks the agent.
func ask[T any](ctx context.Context, c *cli, online func(context.Context, *api.Client) (T, error)) (T, error) {
	socket, _, err := c.places()
	if err != nil {
		var none T
		return none, err
	}
	v, err := online(ctx, api.NewClient(socket))
	return v, hint(err)
}

// askOrRead asks the agent, or reads the pinned tables where it does not run.
func askOrRead[T any](ctx context.Context, c *cli, online func(context.Context, *api.Client) (T, error),
	offline func(view) (T, error),
) (v T, err error) {
	socket, bpffs, err := c.places()
	if err != nil {
		return v, err
	}
	v, err = online(ctx, api.NewClient(socket))
	if !errors.Is(err, api.ErrDown) {
		return v, hint(err)
	}
	tables, viewErr := c.openView(bpffs)
	if viewErr != nil {
		return v, fmt.Errorf("%w, and its tables cannot be read: %w; "+
			"start it with 'penstock agent', or name the right places with --socket and --bpffs", err, viewErr)
	}
	defer func() { err = errors.Join(err, tables.Close()) }()
	c.mention("%v; reading the tables pinned under %s", err, bpffs)
	return offline(tables)
}

// hint adds the way out to what people meet first.
func hint(err error) error {
	switch {
	case errors.Is(err, api.ErrDown):
		return fmt.Errorf("%w; start it with 'penstock agent', or name its socket with --socket", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w; become root, or join the group that owns the socket", err)
	}
	return err
}
