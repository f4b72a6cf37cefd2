package cluster

import (
	"os"
	"testing"
	"time"

	"github.com/penstock-lb/penstock/test/fixture"
)

func TestMain(m *testing.M) {
	fixture.ServeSelf(newInit())
	os.Exit(m.Run())
}

func TestCluster(t *testing.T) {
	tars := images(t)
	start := time.Now()
	s := New(t, tars)
	t.Logf("cluster up after %s", time.Since(start).Round(100*time.Millisecond))
	start = time.Now()
	s.Install()
	t.Logf("Penstock installed after %s", time.Since(start).Round(100*time.Millisecond))
	t.Log(s.API.Kubectl(t, "", "get", "pods", "-A", "-o", "wide"))
	t.Log(s.Penstock(s.LBs[0], "status"))
}
