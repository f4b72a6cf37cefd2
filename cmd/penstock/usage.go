package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// noArgs is for commands that take none.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%q: '%s' takes no arguments", args[0], cmd.CommandPath())
	}
	return nil
}

// noCommand is for commands that only have subcommands: an argument is a mistyped
// one.
func noCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("'%s' has no command %q", cmd.CommandPath(), args[0])
	cmd.SuggestionsMinimumDistance = 2 // of the letters
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += fmt.Sprintf("; did you mean '%s %s'?", cmd.CommandPath(), strings.Join(near, fmt.Sprintf("' or '%s ", cmd.CommandPath())))
	}
	return fmt.Errorf("%s", text)
}

// flagValues are what flags with a choice take, for completion.
var flagValues = map[string][]string{
	"role":               {"lb", "backend"},
	"source-kind":        {"manifests", "kubernetes"},
	"forwarding":         {"auto", "dsr", "nat"},
	"datapath-mode":      {"auto", "native", "generic"},
	"datapath-unmatched": {"reject", "drop"},
	"shutdown":           {"drain", "restart", "auto"},
	"log-level":          {"debug", "info", "warn", "error"},
	"log-format":         {"text", "json"},
}

// completeValues offers flagValues.
func completeValues(cmd *cobra.Command) {
	for name, values := range flagValues {
		// The only error is that of a flag that does not exist, which a test would find.
		_ = cmd.RegisterFlagCompletionFunc(name, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp))
	}
}
