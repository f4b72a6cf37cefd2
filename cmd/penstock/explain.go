package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/desired"
)

// explainService reads all there is on one Service, by namespace/name.
func (c *cli) explainService(ctx context.Context, service string) (api.Explanation, error) {
	namespace, name, _ := strings.Cut(service, "/")
	e, err := askOrRead(ctx, c,
		func(ctx context.Context, a *api.Client) (api.Explanation, error) {
			return a.Explain(ctx, namespace, name)
		},
		func(v view) (api.Explanation, error) {
			if err := ofLB(v); err != nil {
				return api.Explanation{}, err
			}
			services, err := v.ServicesOf(service)
			if err != nil {
				return api.Explanation{}, err
			}
			if e, found := api.ExplainKernel(services, service); found {
				return e, nil
			}
			all, err := v.Services()
			if err != nil {
				return api.Explanation{}, err
			}
			return api.Explanation{}, &api.NotFound{Service: service, Near: api.Near(service, wholeNames(api.InKernel(all)))}
		})
	if missing, ok := errors.AsType[*api.NotFound](err); ok {
		if err := c.askedLB(ctx); err != nil {
			return e, err
		}
		if len(missing.Near) > 0 {
			return e, missing
		}
		return e, fmt.Errorf("%w; 'penstock services' lists those that are in the tables, 'penstock status' what is not in force", missing)
	}
	return e, err
}

// wholeNames are the Kubernetes Services that services are of.
func wholeNames(services []api.Service) []string {
	var names []string
	for _, s := range services {
		whole := desired.ServiceOf(s.Name)
		names = append(names, whole)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// printExplanation goes from the object to the routers: each part follows from the one above.
func (c *cli) printExplanation(w io.Writer, e api.Explanation) error {
	c.explainObject(w, e)
	for _, section := range []func(io.Writer, api.Explanation) error{c.explainReasons, c.explainVIPs, c.explainTables, c.explainBackends} {
		if err := section(w, e); err != nil {
			return err
		}
	}
	return nil
}

// loadBalancer is the type of the Services that are served.
const loadBalancer = "LoadBalancer"

func (c *cli) explainObject(w io.Writer, e api.Explanation) {
	now := c.now()
	line := func(name string, parts ...string) {
		parts = slices.DeleteFunc(parts, func(p string) bool { return p == "" })
		if len(parts) > 0 {
			fmt.Fprintf(w, "%-11s%s\n", name+":", printable(strings.Join(parts, ", ")))
		}
	}
	force := ""
	if e.Force != api.NotKnown {
		force = string(e.Force) + " on " + e.Node
	}
	line("Service", e.Service, force)
	if e.Object != nil && e.Object.Type != loadBalancer {
		line("Why", "only Services of type "+loadBalancer+" are served")
	}
	if l := e.Source.API; e.Source.Lost() {
		line("API", l.Server+" has not answered for "+age(now, l.Since), meanwhile(e))
	}
	o := e.Object
	switch {
	case o == nil && e.Force == api.NotKnown:
		line("Object", "not known, for no agent runs: these are the tables in the kernel")
		return
	case o == nil:
		text := "not known to the source"
		if e.Source.Lost() && !e.Source.Synced {
			text += ", which has read nothing yet: what follows is what the tables in the kernel have"
		}
		line("Object", text)
		return
	}
	line("Object", "type "+cmp.Or(o.Type, "ClusterIP"), label("class ", cmp.Or(o.Class, "none")), label("created ", agoOf(now, o.Created)), label("being deleted since ", agoOf(now, o.Deleted)))
	line("Families", strings.TrimSpace(o.FamilyPolicy+" "+strings.Join(o.Families, "+")))
	line("Ports", list(o.Ports))
	affinity := ""
	if o.Affinity == "ClientIP" {
		affinity = "sessionAffinity ClientIP"
	}
	line("Policies", label("externalTrafficPolicy ", o.TrafficPolicy), affinity, annotationsOf(o.Annotations))
	line("Ignored", annotationsOf(o.Ignored))
	line("Addresses", strings.Join(addressesOf(o), "; "))
	if cond := o.Condition; cond != nil {
		text := cond.Status + ", " + cond.Reason
		if !cond.Since.IsZero() {
			text += " for " + age(now, cond.Since)
		}
		line("Allocated", text+label(": ", cond.Message))
	}
}

// meanwhile says how old an explanation is while the API server does not answer.
func meanwhile(e api.Explanation) string {
	if !e.Source.Synced {
		return "and this agent has read no object yet"
	}
	return "what follows is as it was then"
}

// label is empty where there is no value.
func label(name, value string) string {
	if value == "" {
		return ""
	}
	return name + value
}

func agoOf(now, t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return age(now, t) + " ago"
}

// addressesOf says what the object holds, and what in it asks for which.
func addressesOf(o *api.Object) []string {
	parts := []string{"none held"}
	if len(o.Held) > 0 {
		parts[0] = list(texts(o.Held)) + " held"
	}
	if o.Requested != "" {
		parts = append(parts, o.Requested+" asked for by spec.loadBalancerIP")
	}
	if ips := o.Annotations["penstock.dev/ips"]; ips != "" {
		parts = append(parts, ips+" asked for by the annotation penstock.dev/ips")
	}
	if len(o.ExternalIPs) > 0 {
		parts = append(parts, list(o.ExternalIPs)+" in spec.externalIPs")
	}
	return parts
}

// annotationsOf lists the annotations that addressesOf does not.
func annotationsOf(all map[string]string) string {
	var parts []string
	for k, v := range all {
		if k != "penstock.dev/ips" {
			parts = append(parts, k+"="+v)
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

func (c *cli) explainReasons(w io.Writer, e api.Explanation) error {
	if len(e.Reasons) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	t := newTable(w, "REASON", "PART", "DETAIL")
	for _, r := range e.Reasons {
		t.row(string(r.Reason), cmp.Or(r.Subject, "whole Service"), r.Detail)
	}
	return t.flush()
}
