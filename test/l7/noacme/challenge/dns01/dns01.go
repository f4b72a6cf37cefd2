package dns01

import (
	"strings"
	"time"
)

type ChallengeOption func()

func AddRecursiveNameservers([]string) ChallengeOption               { return nil }
func RecursiveNSsPropagationRequirement() ChallengeOption            { return nil }
func DisableAuthoritativeNssPropagationRequirement() ChallengeOption { return nil }
func PropagationWait(time.Duration, bool) ChallengeOption            { return nil }
func CondOption(bool, ChallengeOption) ChallengeOption               { return nil }
func UnFqdn(n string) string                                         { return strings.TrimSuffix(n, ".") }
