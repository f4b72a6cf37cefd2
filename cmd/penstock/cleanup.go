package main

import (
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"
)

func (c *cli) cleanupCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "cleanup",
		Short: "Stop forwarding: detach the program and remove its pinned tables",
		Long: `Detach the program from every interface and remove all pinned tables. Forwarding on
this node ends, and with it every flow through it: drain it first, by ending the
agent with 'shutdown: drain'. Refused while an agent runs.`,
		Example: "  systemctl stop penstock && penstock cleanup",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, bpffs := c.places()
			devices, err := c.cleanup(bpffs)
			for _, d := range devices {
				fmt.Fprintf(c.stdout, "detached from %s\n", d)
			}
			if err != nil {
				return fmt.Errorf("clean up %s: %w", bpffs, err)
			}
			_, err = fmt.Fprintf(c.stdout, "nothing is pinned under %s any more\n", bpffs)
			return err
		},
	}
}

func (c *cli) versionCmd() *cobra.Command {
	return c.withOutput(&cobra.Command{
		Use:     "version",
		Short:   "Print the version",
		Example: "  penstock version -o json | jq -r .version",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := struct {
				Version  string `json:"version"`
				Go       string `json:"go"`
				Platform string `json:"platform"`
			}{version, runtime.Version(), runtime.GOOS + "/" + runtime.GOARCH}
			return c.print(v, func(w io.Writer) error {
				_, err := fmt.Fprintf(w, "penstock %s, %s, %s\n", v.Version, v.Go, v.Platform)
				return err
			})
		},
	})
}
