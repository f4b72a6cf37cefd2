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
	t.Log(s.API.Kubectl(t, "", "get", "nodes", "-o", "wide"))
}
