package bgp

import (
	"context"
	"fmt"

	api "github.com/osrg/gobgp/v3/api"
	"github.com/osrg/gobgp/v3/pkg/server"
)

// ownRoutesOnly makes a server take into its table, and give away, only what was put in here. It must
// come before the first peer: tightening a policy later withdraws nothing.
func ownRoutesOnly(ctx context.Context, s *server.BgpServer) error {
	policy := &api.Policy{Name: "own routes", Statements: []*api.Statement{{
		Name:       "own routes",
		Conditions: &api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
		Actions:    &api.Actions{RouteAction: api.RouteAction_ACCEPT},
	}}}
	if err := s.AddPolicy(ctx, &api.AddPolicyRequest{Policy: policy}); err != nil {
		return fmt.Errorf("add routing policy: %w", err)
	}
	for _, direction := range []api.PolicyDirection{api.PolicyDirection_IMPORT, api.PolicyDirection_EXPORT} {
		err := s.SetPolicyAssignment(ctx, &api.SetPolicyAssignmentRequest{Assignment: &api.PolicyAssignment{
			Name: "global", Direction: direction,
			Policies: []*api.Policy{policy}, DefaultAction: api.RouteAction_REJECT,
		}})
		if err != nil {
			return fmt.Errorf("assign %s policy: %w", direction, err)
		}
	}
	return nil
}
