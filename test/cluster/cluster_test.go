package cluster

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

func TestMain(m *testing.M) {
	fixture.ServeSelf(newInit())
	// A cluster is too much to leave behind for the next run to sweep.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() {
		if err := fixture.RemoveOwn(); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	})
	os.Exit(m.Run())
}

// TestCluster is all scenes, on one cluster.
func TestCluster(t *testing.T) {
	start := time.Now()
	tars := images(t)
	t.Logf("images built after %s", time.Since(start).Round(100*time.Millisecond))
	start = time.Now()
	s := New(t, tars)
	s.binary = binaryOf(tars)
	s.row("nodes Ready", start, "")
	for _, scene := range []struct {
		name string
		play func(*Site)
	}{
		{"install", (*Site).sceneInstall},
		{"traefik", (*Site).sceneTraefik},
		{"within", (*Site).sceneWithin},
		{"watched", (*Site).sceneWatched},
		{"load", (*Site).sceneLoad},
		{"roll-traefik", (*Site).sceneRollTraefik},
		{"pod-firewall", (*Site).sceneFirewall},
		{"roll-agents", (*Site).sceneRollAgents},
		{"upgrade", (*Site).sceneUpgrade},
		{"lb-killed", (*Site).sceneLBKilled},
		{"ingress-killed", (*Site).sceneIngressKilled},
		{"kubelet-frozen", (*Site).sceneKubeletFrozen},
		{"control-plane", (*Site).sceneControlPlane},
		{"scale", (*Site).sceneScale},
		{"refused", (*Site).sceneRefused},
		{"broken-image", (*Site).sceneBrokenImage},
		{"lb-leaves", (*Site).sceneLBLeaves},
		{"uninstall", (*Site).sceneUninstall},
	} {
		if !t.Run(scene.name, func(t *testing.T) { s.play(t, scene.play) }) {
			break // the others would find a cluster that is not as it should be
		}
	}
	s.table()
}
