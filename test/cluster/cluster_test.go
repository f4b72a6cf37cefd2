package cluster

import (
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

func TestMain(m *testing.M) {
	fixture.ServeSelf(newInit())
	os.Exit(m.Run())
}

// TestCluster is all scenes, on one cluster.
func TestCluster(t *testing.T) {
	start := time.Now()
	tars := images(t)
	t.Logf("images built after %s", time.Since(start).Round(100*time.Millisecond))
	start = time.Now()
	s := New(t, tars)
	s.row("nodes Ready", start, "")
	for _, scene := range []struct {
		name string
		play func(*Site)
	}{
		{"install", (*Site).sceneInstall},
		{"traefik", (*Site).sceneTraefik},
	} {
		if !t.Run(scene.name, func(t *testing.T) { s.play(t, scene.play) }) {
			break // the others would find a cluster that is not as it should be
		}
	}
	s.table()
}

func (s *Site) sceneInstall() {
	start := time.Now()
	s.Install()
	s.row("Penstock installed", start, "")
}

func (s *Site) sceneTraefik() {
	start := time.Now()
	vips := s.DeployTraefik()
	s.WaitRoutes(vips, s.LBs...)
	s.row("Traefik serves", start, "")
	for _, vip := range vips {
		for _, host := range []string{ingressHost, routeHost} {
			s.Wait("an answer of "+host+" by "+vip.String(), func() error {
				a, err := s.Get(vip, host)
				if err == nil && a.For != s.clientOf(vip).String() {
					err = fmt.Errorf("the L7 tier saw client %s", a.For)
				}
				return err
			})
		}
	}
	s.Wait("the addresses in the Ingress's status", func() error {
		got, err := s.IngressAddresses()
		if err == nil && !slices.Equal(got, vips) {
			err = fmt.Errorf("it has %v, not %v", got, vips)
		}
		return err
	})
	s.Wait("access logs with the clients' own addresses", func() error {
		seen, err := s.Logged()
		if err != nil {
			return err
		}
		for _, vip := range vips {
			if seen[s.clientOf(vip)] == 0 {
				return fmt.Errorf("they have %v", seen)
			}
		}
		return nil
	})
	s.row("answers by Ingress and HTTPRoute", start, "both families, client's own address logged")
}
