package metrics

import (
	"slices"

	"github.com/penstock-lb/penstock/agent/api"
	"github.com/penstock-lb/penstock/agent/drain"
)

// drain is how far an LB node's is. Why, in the words of whoever asked, is in the status: it
// would make series without end.
func (e emitter) drain(s api.Status) {
	if s.Ingress != nil {
		return
	}
	d := api.DrainStatus{Stage: drain.Announced}
	if s.Drain != nil {
		d = *s.Drain
	}
	for _, stage := range drain.Stages {
		e.truth(drainStage, d.Stage == stage, string(stage))
	}
	for _, by := range drain.Causes {
		e.truth(draining, slices.ContainsFunc(d.Asks, func(a drain.Ask) bool { return a.By == by }), string(by))
	}
}
