package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/config"
)

// difference is a key that a file has otherwise than the running agent.
type difference struct {
	Key     string `json:"key"`
	Running string `json:"running"`
	File    string `json:"file"`
	Effect  string `json:"effect"`
}

// Effects of a change.
const (
	appliesLive   = "applies live"
	needsRestart  = "needs a restart"
	resetsSession = "resets the session"
	keepsSession  = "applies live, the session stays"
	opensSession  = "opens a session"
	endsSession   = "ends the session"
	movesPeer     = "applies live, on nodes that get or lose the peer"
)

func (c *cli) configDiffCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:   "diff [FILE]",
		Short: "Say what a configuration would change of the running agent",
		Long: `Compare FILE, or the file that the agent would take, with what the agent of this node
works with. EFFECT is what becomes of a change: of a BGP peer, whether its session is
reset or goes on; those of other peers always do. The contents of secret files are not
compared: a new password does not reset a session, a new seed needs a restart. What the
agent has from its flags differs from a file that does not say so.`,
		Example: `  penstock config diff new.yaml
  penstock config diff new.yaml -o json | jq -e 'all(.effect != "resets the session")'`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			path, _ := c.configPath()
			if len(args) == 1 {
				path = args[0]
			}
			if path == "" {
				return fmt.Errorf("%s does not exist; name a file", config.DefaultPath)
			}
			next, err := config.Load(path, nil)
			if err != nil {
				return fmt.Errorf("%s is not valid:\n%w", path, err)
			}
			running, err := ask(cmd.Context(), c, func(ctx context.Context, a *api.Client) (config.Dump, error) { return a.Config(ctx) })
			if err != nil {
				return err
			}
			found, err := differences(running, config.InForce(next, next))
			if err != nil {
				return err
			}
			return c.print(found, func(w io.Writer) error { return printDifferences(w, path, found) })
		},
	})
}

// differences are in the order of the documentation, those that need a restart last.
func differences(running, file config.Dump) ([]difference, error) {
	before, errB := running.Config()
	after, errA := file.Config()
	if err := errors.Join(errB, errA); err != nil {
		return nil, fmt.Errorf("read the agent's configuration, which may be of another version: %w", err)
	}
	changes := config.Diff(before, after)
	out := []difference{}
	for _, ch := range changes.Live {
		out = append(out, difference{ch.Key, ch.Old, ch.New, effectOf(ch, before, after)})
	}
	for _, ch := range changes.Restart {
		out = append(out, difference{ch.Key, ch.Old, ch.New, needsRestart})
	}
	return out, nil
}

// effectOf says what becomes of a change that applies live.
func effectOf(ch config.Change, before, after *config.Config) string {
	entry, ok := strings.CutPrefix(ch.Key, "bgp.peers[")
	if !ok {
		return appliesLive
	}
	name, key := entry[:strings.LastIndexByte(entry, ']')], entry[strings.LastIndexByte(entry, ']')+1:]
	old, had := peerOf(before, name)
	now, has := peerOf(after, name)
	switch key = strings.TrimPrefix(key, "."); {
	case !had:
		return opensSession
	case !has:
		return endsSession
	case key == "nodes" || key == "nodeSelector":
		return movesPeer
	case key == "gateway" || slices.Contains(old.BGP().Resets(now.BGP()), key):
		return resetsSession
	}
	return keepsSession
}

func peerOf(c *config.Config, name string) (config.Peer, bool) {
	i := slices.IndexFunc(c.BGP.Peers, func(p config.Peer) bool { return p.Name == name })
	if i < 0 {
		return config.Peer{}, false
	}
	return c.BGP.Peers[i], true
}

func printDifferences(w io.Writer, path string, found []difference) error {
	if len(found) == 0 {
		_, err := fmt.Fprintf(w, "%s is what the agent works with\n", path)
		return err
	}
	t := newTable(w, "KEY", "RUNNING", "FILE", "EFFECT")
	for _, d := range found {
		t.row(d.Key, d.Running, d.File, d.Effect)
	}
	return t.flush()
}
