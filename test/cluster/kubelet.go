package cluster

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

const containerdSocket = "/run/containerd/containerd.sock"

// up starts containerd, imports images, and starts the kubelet and kube-proxy. It does not wait until the Node is
// Ready. It takes no TB, as nodes come up side by side.
func (n *Node) up(images []string) error {
	if err := n.startContainerd(); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	if err := n.Import(images...); err != nil {
		return err
	}
	if err := errors.Join(n.startKubelet(), n.startProxy()); err != nil {
		return fmt.Errorf("node %s: %w", n.Name, err)
	}
	return nil
}

func (n *Node) startContainerd() error {
	cni := filepath.Join(n.Dir, "cni")
	if err := os.MkdirAll(cni, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(cni, "10-test.conflist"), []byte(n.network()), 0o644); err != nil {
		return err
	}
	config := filepath.Join(n.Dir, "containerd.toml")
	text := strings.NewReplacer("CNI", cni, "PAUSE", pauseImage, "SOCKET", containerdSocket).Replace(containerdConfig)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		return err
	}
	if _, err := n.run("containerd", "/usr/bin/containerd", "--config", config); err != nil {
		return err
	}
	return poll(20*time.Second, func() error {
		_, err := n.ctr("version")
		return err
	})
}

// containerdConfig: without CAP_SYS_RESOURCE an OOM score can't be lowered.
const containerdConfig = `version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.tracing.processor.v1.otlp",
]
[grpc]
  address = "SOCKET"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "PAUSE"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "CNI"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
`

// network is the configuration of the pods' network, as the CNI plugins take it.
func (n *Node) network() string {
	return fmt.Sprintf(`{"cniVersion": "1.0.0", "name": "test", "plugins": [
  {"type": "bridge", "bridge": "cni0", "isGateway": true, "ipMasq": false, "hairpinMode": true, "ipam": {
    "type": "host-local", "ranges": [[{"subnet": %q}], [{"subnet": %q}]],
    "routes": [{"dst": "0.0.0.0/0"}, {"dst": "::/0"}]}}
]}
`, n.pods4(), n.pods6())
}

func (n *Node) ctr(args ...string) (string, error) {
	return n.Exec(append([]string{"ctr", "-a", containerdSocket, "-n", "k8s.io"}, args...)...)
}

// Import gives the node images, from tar files.
func (n *Node) Import(tars ...string) error {
	for _, t := range tars {
		if out, err := n.ctr("images", "import", t); err != nil {
			return fmt.Errorf("import image: %w\n%s", err, out)
		}
	}
	return nil
}

func (n *Node) startKubelet() error {
	kubeconfig, err := n.site.API.KubeconfigOf("system:node:"+n.Name, "https://"+apiAddress)
	if err != nil {
		return err
	}
	resolv := filepath.Join(n.Dir, "resolv.conf")
	config := strings.NewReplacer("CGROUP", "/"+n.cgroup(), "SOCKET", containerdSocket, "ADDRESS", n.Addr4.String(), "RESOLV", resolv).
		Replace(kubeletConfig)
	for name, text := range map[string]string{"kubelet.yaml": config, "kubeconfig": string(kubeconfig), "resolv.conf": ""} {
		if err := os.WriteFile(filepath.Join(n.Dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	n.kubelet, err = n.run("kubelet", n.site.API.ServerPath(), "kubelet",
		"--config="+filepath.Join(n.Dir, "kubelet.yaml"), "--kubeconfig="+filepath.Join(n.Dir, "kubeconfig"),
		"--hostname-override="+n.Name, "--root-dir=/var/lib/kubelet", "--node-ip="+n.Addr4.String()+","+n.Addr6.String())
	return err
}

// kubeletConfig: the cgroups here are of version 1, the number of open files can't be raised, and
// no pod is to be evicted for what other programs use of this machine.
const kubeletConfig = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: CGROUP
containerRuntimeEndpoint: unix://SOCKET
address: ADDRESS
healthzBindAddress: 127.0.0.1
readOnlyPort: 0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
failSwapOn: false
resolvConf: RESOLV
evictionHard: {memory.available: "0%", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
imageMinimumGCAge: 24h
localStorageCapacityIsolation: false
maxOpenFiles: 20000
nodeLeaseDurationSeconds: 8
nodeStatusUpdateFrequency: 4s
syncFrequency: 10s
makeIPTablesUtilChains: false
`

// poll waits until cond returns nil, and returns its last error when timeout is over.
func poll(timeout time.Duration, cond func() error) error {
	for deadline := time.Now().Add(timeout); ; time.Sleep(20 * time.Millisecond) {
		err := cond()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %s: %w", timeout, err)
		}
	}
}
