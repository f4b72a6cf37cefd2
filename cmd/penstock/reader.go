package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

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
// over configuration file over default. Of a file with mistakes, which a running
// agent does not take either, what is readable counts: to look at a node has to
// work above all when something is wrong.
func (c *cli) places() (socket, bpffs string) {
	def := config.Default()
	socket = cmp.Or(c.socket, os.Getenv("PENSTOCK_API_SOCKET"))
	bpffs = cmp.Or(c.bpffs, os.Getenv("PENSTOCK_DATAPATH_BPFFS"))
	if path, _ := c.configPath(); path != "" && (socket == "" || bpffs == "") {
		cfg, err := config.Load(path, nil)
		if err != nil {
			c.mention("the configuration is not valid, going on with what of it is readable: %s", brief(err))
			cfg = readable(path)
		}
		socket, bpffs = cmp.Or(socket, cfg.API.Socket), cmp.Or(bpffs, cfg.Datapath.BPFFS)
	}
	return cmp.Or(socket, def.API.Socket), cmp.Or(bpffs, def.Datapath.BPFFS)
}

// readable returns what a file with mistakes says of the places; nothing if it
// cannot be read at all. Where the YAML is broken, the lines above count.
func readable(path string) *config.Config {
	var text struct {
		API struct {
			Socket string `yaml:"socket"`
		} `yaml:"api"`
		Datapath struct {
			BPFFS string `yaml:"bpffs"`
		} `yaml:"datapath"`
	}
	data, _ := os.ReadFile(path) // the error has been mentioned
	lines := bytes.SplitAfter(data, []byte("\n"))
	for n := len(lines); n > 0; n-- {
		err := yaml.Unmarshal(bytes.Join(lines[:n], nil), &text)
		if _, wrongType := errors.AsType[*yaml.TypeError](err); err == nil || wrongType {
			break // the rest has been decoded
		}
	}
	cfg := new(config.Config)
	cfg.API.Socket, cfg.Datapath.BPFFS = text.API.Socket, text.Datapath.BPFFS
	return cfg
}

// brief is the first line of an error, with how many more there are.
func brief(err error) string {
	lines := strings.Split(strings.TrimSpace(err.Error()), "\n")
	if more := len(lines) - 1; more > 0 {
		return fmt.Sprintf("%s (and %d more; 'penstock config validate' lists them)", lines[0], more)
	}
	return lines[0]
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
	socket, _ := c.places()
	v, err := online(ctx, api.NewClient(socket))
	return v, hint(err)
}

// askOrRead asks the agent, or reads the pinned tables where it does not run.
func askOrRead[T any](ctx context.Context, c *cli, online func(context.Context, *api.Client) (T, error),
	offline func(view) (T, error),
) (v T, err error) {
	socket, bpffs := c.places()
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
