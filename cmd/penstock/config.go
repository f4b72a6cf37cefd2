package main

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/agent/config"
)

func (c *cli) configCmd() *cobra.Command {
	cmd := group("config", "Print, check or compare a configuration", c.configDefaultCmd(), c.configKeysCmd(), c.configValidateCmd(), c.configDiffCmd())
	cmd.Example = "  penstock config default > /etc/penstock/penstock.yaml\n  penstock config validate\n  penstock config diff new.yaml"
	return cmd
}

func (c *cli) configDefaultCmd() *cobra.Command {
	var role string
	cmd := &cobra.Command{
		Use:   "default",
		Short: "Print every key with its default and meaning, as a file to begin with",
		Example: "  penstock config default > /etc/penstock/penstock.yaml\n" +
			"  penstock config default --role backend      # only what counts for an ingress node",
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			text := config.DefaultFile()
			if role != "" {
				if !slices.Contains(flagValues["role"], role) {
					return fmt.Errorf("--role %q: want %s", role, strings.Join(flagValues["role"], " or "))
				}
				text = config.DefaultFileFor(config.Role(role))
			}
			_, err := io.WriteString(c.stdout, text)
			return err
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "leave out what does not count for this role: lb or backend")
	completeValues(cmd)
	return cmd
}

func (c *cli) configKeysCmd() *cobra.Command {
	return &cobra.Command{
		Use:     "keys",
		Short:   "Print every key with its default and meaning, as a Markdown table",
		Example: "  penstock config keys | grep nat",
		Args:    noArgs,
		RunE:    func(*cobra.Command, []string) error { return config.WriteTable(c.stdout) },
	}
}

func (c *cli) configValidateCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "validate [FILE]",
		Short: "Check a configuration as the agent would read it",
		Long: `Check FILE, or the file that the agent would take, together with the PENSTOCK_
variables of this environment. Every mistake is named at once with its line, key
and value. What is valid but hardly meant, or does not fit this machine, is said on
standard error.`,
		Example: `  penstock config validate
  penstock config validate new.yaml && mv new.yaml /etc/penstock/penstock.yaml`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			path, _ := c.configPath()
			if len(args) == 1 {
				path = args[0]
			}
			if path == "" {
				return fmt.Errorf("%s does not exist; name a file, or make one with 'penstock config default'", config.DefaultPath)
			}
			_, warnings, err := config.Inspect(path, nil)
			if err != nil {
				return fmt.Errorf("%s is not valid:\n%w", path, err)
			}
			for _, w := range warnings {
				c.mention("warning: %s", w)
			}
			_, err = fmt.Fprintf(c.stdout, "%s is valid\n", path)
			return err
		},
	}
}
