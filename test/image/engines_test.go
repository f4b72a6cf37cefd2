package image

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/penstock-lb/penstock/test/fixture"
)

// TestSkopeo reads the archive as what it is and as Docker's format.
func TestSkopeo(t *testing.T) {
	needs(t, "skopeo")
	for _, from := range []string{"oci-archive:" + built(t) + ":" + version, "docker-archive:" + built(t) + ":penstock-lb/penstock:" + version} {
		var got struct {
			Architecture, Os string
			Labels           map[string]string
		}
		out := run(t, "skopeo", "inspect", "--override-arch=amd64", from)
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatalf("skopeo inspect %s: %v\n%s", from, err, out)
		}
		if got.Architecture != "amd64" || got.Os != "linux" {
			t.Errorf("%s is for %s/%s", from, got.Os, got.Architecture)
		}
		if diff := cmp.Diff(labels, got.Labels); diff != "" {
			t.Errorf("%s: labels (-want +got):\n%s", from, diff)
		}
	}
	// As it goes to a registry: all platforms, with the digests that were printed.
	to := t.TempDir()
	run(t, "skopeo", "copy", "--all", "--insecure-policy", "oci-archive:"+built(t)+":"+version, "dir:"+to)
	for p, img := range images(t, built(t)) {
		d, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(to, d.Hex+".manifest.json")); err != nil {
			t.Errorf("%s was not copied: %v", p, err)
		}
	}
}

// TestContainerd imports the archive where a kubelet looks for images, and runs what the image's PATH finds
// in a container.
func TestContainerd(t *testing.T) {
	needs(t, "containerd", "ctr", "runc")
	ctr := containerd(t)
	ctr("images", "import", "--all-platforms", built(t))
	refs := strings.Fields(ctr("images", "list", "--quiet"))
	if !slices.Contains(refs, reference) {
		t.Fatalf("containerd knows the images %q, want %s", refs, reference)
	}
	if out := ctr("images", "check"); !strings.Contains(out, "complete") {
		t.Errorf("the image is not complete:\n%s", out)
	}
	// Without a cgroup path runc makes one of this name, and leaves nothing of it.
	id := fmt.Sprintf("pst-%d", os.Getpid())
	if out := ctr("run", "--rm", "--read-only", "--snapshotter=native", "--cgroup=", reference, id, "penstock", "version"); !strings.Contains(out, version) {
		t.Errorf("penstock version says %q, want %s in it", out, version)
	}
}

// containerd starts one of the test's own, and returns its client.
func containerd(t *testing.T) func(args ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pst-ctr-*") // short, for the sockets in it
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	config := fmt.Sprintf("version = 2\nroot = %q\nstate = %q\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n[grpc]\naddress = %q\n",
		filepath.Join(dir, "root"), filepath.Join(dir, "state"), socket)
	if err := os.WriteFile(filepath.Join(dir, "config.toml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command("containerd", "--config", filepath.Join(dir, "config.toml"))
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			said, _ := os.ReadFile(log.Name())
			t.Logf("containerd:\n%s", said)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove what containerd left: %v", err)
		}
	})
	fixture.Wait(t, patience, "containerd's socket", func() error {
		c, err := net.Dial("unix", socket)
		if err != nil {
			return err
		}
		return c.Close()
	})
	return func(args ...string) string {
		t.Helper()
		return run(t, "ctr", append([]string{"--address", socket, "--namespace", "k8s.io"}, args...)...)
	}
}

func needs(t *testing.T, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			t.Fatalf("%s is not here: `hack/setup.sh test` installs it", p)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return string(out)
}
