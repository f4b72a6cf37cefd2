package main

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/spf13/cobra"

	"github.com/penstock-lb/penstock/bpf"
)

func (c *cli) sourcesCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "sources DIR",
		Short: "Write the C files of the data path, to change them on site",
		Long: `Write the C files that this binary's program was built from into DIR. An agent with
datapath.compile and datapath.sources compiles and loads them with the node's own
clang; 'penstock status' then says so. Files that are there are not overwritten.`,
		Example: `  penstock sources /etc/penstock/bpf
  penstock agent --compile --datapath-sources /etc/penstock/bpf`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			err := bpf.ExportSources(args[0])
			if errors.Is(err, fs.ErrExist) {
				return fmt.Errorf("%s has files of these names already, and none is overwritten; name an empty directory, or one that does not exist", args[0])
			} else if err != nil {
				return fmt.Errorf("write sources to %s: %w", args[0], err)
			}
			_, err = fmt.Fprintf(c.stdout, "wrote the data path's C files to %s\n", args[0])
			return err
		},
	}
}
