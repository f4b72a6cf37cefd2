package bgp_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/osrg/gobgp/v3/pkg/packet/bgp"
)

// What GoBGP's own parser makes of the hostile messages is why it gets none of them: those that panic
// are logged, and doc.go says what is done about it. The test fails once there is none, as the relay
// would then do more than it has to.
func TestParserOfGoBGP(t *testing.T) {
	t.Parallel()
	seen := map[string]string{}
	for _, c := range hostileCases() {
		if c.messages == nil || strings.Contains(c.name, "flood") || strings.Contains(c.name, "random") {
			continue
		}
		for _, m := range c.messages(&rogue{}) {
			if p := parse(m); p != "" {
				seen[c.name] = p
			}
		}
	}
	random := rand.New(rand.NewPCG(5, 6))
	const tries = 50000
	byChance := map[string]int{}
	for _, m := range randomUpdates(random, tries) {
		if p := parse(m); p != "" {
			byChance[p]++
		}
	}
	var list []string
	for name, p := range seen {
		list = append(list, fmt.Sprintf("%s: %s", name, p))
	}
	slices.Sort(list)
	chance := 0
	for _, n := range byChance {
		chance += n
	}
	t.Logf("%d of the messages make it panic, and %d of %d by chance:\n%s", len(list), chance, tries, strings.Join(list, "\n"))
	if len(list)+chance == 0 {
		t.Error("GoBGP's parser takes everything now: look whether the relay still has to keep UPDATEs from it")
	}
}

// parse has GoBGP read a message as it would in a session, and returns what it panics with.
func parse(m []byte) (panicked string) {
	defer func() {
		if p := recover(); p != nil {
			panicked = fmt.Sprint(p)
		}
	}()
	parsed, err := bgp.ParseBGPMessage(m)
	if err != nil {
		return ""
	}
	if u, ok := parsed.Body.(*bgp.BGPUpdate); ok {
		families := map[bgp.RouteFamily]bgp.BGPAddPathMode{bgp.RF_IPv4_UC: bgp.BGP_ADD_PATH_NONE, bgp.RF_IPv6_UC: bgp.BGP_ADD_PATH_NONE}
		_, _ = bgp.ValidateUpdateMsg(u, families, true, false, false)
	}
	return ""
}
