package api

import (
	"slices"
	"strings"

	"github.com/penstock-lb/penstock/agent/config"
)

// SourceOf is what there is to say of a configured source before it is read.
func SourceOf(cfg *config.Config) SourceStatus {
	s := SourceStatus{Kind: string(cfg.Source.Kind), Name: cfg.Source.Directory}
	if cfg.Source.Kind == config.SourceKubernetes {
		s.Name = "the Kubernetes API"
	}
	return s
}

// Datapaths names the modes of attached interfaces, each once, as desired.Published has them.
func Datapaths(interfaces []InterfaceStatus) string {
	var out []string
	for _, i := range interfaces {
		for _, mode := range []string{i.Mode, i.Egress} {
			if i.Attached && mode != "" && !slices.Contains(out, mode) {
				out = append(out, mode)
			}
		}
	}
	slices.Sort(out)
	return strings.Join(out, ",")
}
