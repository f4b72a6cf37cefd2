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
	"github.com/penstock-lb/penstock/agent/desired"
	"github.com/penstock-lb/penstock/maps"
)

func (c *cli) servicesCmd() *cobra.Command {
	var namespace string
	cmd := &cobra.Command{
		Use:   "services [-n NAMESPACE] [NAME...]",
		Short: "List the services in the kernel's tables, or explain one Service",
		Long: `Without a name, list the services as the kernel has them: one line for each port of a
Kubernetes Service in each address family. ROWS is the size of the lookup table, 0 where no
backend is usable. CHAINED is the part of it whose flows may still be on a former owner; -o
wide and json have how many rows have how many owners, and which clients are served. NEW
FLOWS counts the flows that ever began. REASON is why a service is not in force as it is
wanted. Whole names, as in the list, and several names choose lines of it.

With the name of one Kubernetes Service, explain it from the API object to the routers:
what it asks for and holds, why parts of it are not in force, which routers have its VIPs
and since when, its tables, and each endpoint with its pod and node. ENDPOINT is what the
EndpointSlice says, STATE what follows:
  ready      takes new flows
  draining   keeps those that it has
  pending    is wanted, and not in the kernel yet
  leaving    is in the kernel, and no longer wanted
  unreached  no packet can get there; WHY and -o wide say why
'penstock reasons' says what each reason means.

Exit codes: 0 if there is such a Service, in force or not; 1 if there is none, with the
names that are nearest; 2 if the command line is wrong.`,
		Example: `  penstock services
  penstock services -n default web            # why does it not answer?
  penstock services default/web -o json | jq -r '.force, .object.condition.message'
  penstock services default/web -o json | jq '.tables[].backends[] | {addr, state, reason}'
  penstock services -n default                # the list, of one namespace
  penstock services -o json | jq '.[] | {name, chains}'   # rows by the number of their owners`,
		ValidArgsFunction: c.completeServices,
		RunE: func(cmd *cobra.Command, args []string) error {
			names, err := c.qualify(cmd.Context(), namespace, args)
			if err != nil {
				return err
			}
			if len(names) == 1 && !strings.Contains(names[0], ":") {
				e, err := c.explainService(cmd.Context(), names[0])
				if err != nil {
					return err
				}
				return c.print(e, func(w io.Writer) error { return c.printExplanation(w, e) })
			}
			services, err := c.services(cmd.Context(), names)
			if err != nil {
				return err
			}
			if namespace != "" {
				services = slices.DeleteFunc(services, func(s api.Service) bool { return !strings.HasPrefix(s.Name, namespace+"/") })
			}
			if err := c.print(services, func(w io.Writer) error { return c.printServices(w, services) }); err != nil {
				return err
			}
			if missing := unmet(names, services); len(missing) > 0 {
				return c.notFound(cmd.Context(), missing)
			}
			return nil
		},
	}
	c.namespaceFlag(cmd, &namespace)
	return c.withOutput(cmd)
}

func (c *cli) namespaceFlag(cmd *cobra.Command, namespace *string) {
	cmd.Flags().StringVarP(namespace, "namespace", "n", "", "namespace of the names")
	// The only error is that of a flag that does not exist.
	_ = cmd.RegisterFlagCompletionFunc("namespace", c.completeNamespaces)
}

// unmet are the names that none of services is meant by.
func unmet(names []string, services []api.Service) []string {
	return slices.DeleteFunc(slices.Clone(names), func(n string) bool { return len(api.Select(services, []string{n})) > 0 })
}

// qualify gives names, whole ones of tables too, their namespace.
func (c *cli) qualify(ctx context.Context, namespace string, names []string) ([]string, error) {
	out := make([]string, len(names))
	for i, n := range names {
		service := desired.ServiceOf(n)
		own, name, has := strings.Cut(service, "/")
		switch {
		case n == "" || has && (own == "" || name == ""):
			return nil, fmt.Errorf("%q is no name; write NAMESPACE/NAME, or -n NAMESPACE NAME", n)
		case has && namespace != "" && own != namespace:
			return nil, fmt.Errorf("%s is not in the namespace %s that --namespace names; leave one of them out", n, namespace)
		case has:
			out[i] = n
		case namespace != "":
			out[i] = namespace + "/" + n
		default:
			text := fmt.Sprintf("%q has no namespace; write NAMESPACE/%s, or -n NAMESPACE %s", n, n, n)
			if all, err := c.names(ctx); err == nil {
				if near := api.Near("/"+service, all); len(near) > 0 {
					text += "; did you mean " + strings.Join(near, " or ") + "?"
				}
			}
			return nil, errors.New(text)
		}
	}
	return out, nil
}

// names are the Services that anything is known of, by namespace/name.
func (c *cli) names(ctx context.Context) ([]string, error) {
	quiet := *c
	quiet.stderr = io.Discard
	return askOrRead(ctx, &quiet,
		func(ctx context.Context, a *api.Client) ([]string, error) { return a.Names(ctx) },
		func(v view) ([]string, error) {
			all, err := v.Services()
			return wholeNames(api.InKernel(all)), err
		})
}

// services reads the services that are named, or all.
func (c *cli) services(ctx context.Context, names []string) ([]api.Service, error) {
	services, err := askOrRead(ctx, c,
		func(ctx context.Context, a *api.Client) ([]api.Service, error) {
			return a.Services(ctx, names...)
		},
		func(v view) ([]api.Service, error) {
			if err := ofLB(v); err != nil {
				return nil, err
			}
			services, err := pinnedServices(v, names)
			return api.InKernel(services), err
		})
	if err == nil && len(services) == 0 {
		err = c.askedLB(ctx)
	}
	if err == nil && len(services) == 0 && len(names) > 0 {
		return nil, c.notFound(ctx, names)
	}
	return services, err
}

// pinnedServices reads the services that are named, or all.
func pinnedServices(v view, names []string) ([]maps.ServiceStatus, error) {
	if len(names) == 0 {
		return v.Services()
	}
	return v.ServicesOf(names...)
}

// notFound says which Services may have been meant, or where to look.
func (c *cli) notFound(ctx context.Context, names []string) error {
	var near []string
	if all, err := c.names(ctx); err == nil {
		for _, n := range names {
			service := desired.ServiceOf(n)
			if !slices.Contains(all, service) { // else it has a reason for not being there
				near = append(near, api.Near(service, all)...)
			}
		}
	}
	slices.Sort(near)
	if near = slices.Compact(near); len(near) > 0 {
		return fmt.Errorf("the tables have nothing of %s; did you mean %s?", strings.Join(names, " or "), strings.Join(near, " or "))
	}
	return fmt.Errorf("the tables have nothing of %s; 'penstock services' lists what they have, 'penstock status' says why something is missing",
		strings.Join(names, " or "))
}

// completeServices offers names, with -n those of its namespace without it, and tables where
// a colon has been typed.
func (c *cli) completeServices(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	prefix := "" // that -n has said already
	if flag := cmd.Flags().Lookup("namespace"); flag != nil && flag.Value.String() != "" {
		prefix = flag.Value.String() + "/"
	}
	names, _ := c.names(cmd.Context()) // without any, nothing is offered
	if whole, _, colon := strings.Cut(typed, ":"); colon {
		quiet := *c
		quiet.stderr, names = io.Discard, nil
		services, _ := quiet.services(cmd.Context(), []string{prefix + whole})
		for _, s := range services {
			names = append(names, s.Name)
		}
	}
	var out []string
	for _, n := range names {
		if name, ours := strings.CutPrefix(n, prefix); ours && !slices.Contains(args, name) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out, cobra.ShellCompDirectiveNoFileComp
}

func (c *cli) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	names, _ := c.names(cmd.Context())
	for i, n := range names {
		names[i], _, _ = strings.Cut(n, "/")
	}
	return slices.Compact(names), cobra.ShellCompDirectiveNoFileComp
}

func (c *cli) printServices(w io.Writer, services []api.Service) error {
	header := []string{"SERVICE", "FRONTENDS", "AFFINITY", "ROWS", "CHAINED", "BACKENDS", "PACKETS", "BYTES", "NEW FLOWS", "REASON"}
	if c.output == wide {
		header = append(header, "ROWS BY OWNERS", "SOURCES")
	}
	t := newTable(w, header...)
	for _, s := range services {
		var frontends []string
		for _, f := range s.Frontends {
			frontends = append(frontends, f.String())
		}
		usable, packets, bytes, flows := 0, uint64(0), uint64(0), uint64(0)
		for _, b := range s.Backends {
			if b.Rows > 0 {
				usable++
			}
			packets, bytes, flows = packets+b.Packets, bytes+b.Bytes, flows+b.NewFlows
		}
		affinity := ""
		if s.Affinity == maps.AffinityClientIP {
			affinity = "client IP"
		}
		t.row(s.Name, list(frontends), affinity, number(s.Rows), chained(s), fmt.Sprintf("%d/%d", usable, len(s.Backends)),
			number(packets), size(bytes), number(flows), because(s), lengths(s), sourcesOf(s))
	}
	return t.flush()
}

// chained is the part of the rows that have more than one owner.
func chained(s api.Service) string {
	if s.Chained == 0 || s.Rows == 0 {
		return ""
	}
	return fmt.Sprintf("%.1f%%", 100*float64(s.Chained)/float64(s.Rows))
}

// lengths says how many rows have how many owners, as in "1:960 2:60".
func lengths(s api.Service) string {
	var parts []string
	for n, rows := range s.Chains {
		if rows > 0 {
			parts = append(parts, fmt.Sprintf("%d:%d", n, rows))
		}
	}
	return strings.Join(parts, " ")
}

// because says why a service is not in force as it is wanted.
func because(s api.Service) string {
	switch {
	case s.Reason == "":
		return ""
	case s.Detail == "":
		return string(s.Reason)
	}
	return string(s.Reason) + ": " + s.Detail
}
