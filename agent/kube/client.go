package kube

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/oauth2"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/transport"
)

// accountFiles is where a kubelet mounts what a ServiceAccount needs.
const accountFiles = "/var/run/secrets/kubernetes.io/serviceaccount"

// Namespace is that of the pod that this process is in, or else where Penstock is by default.
func Namespace() string {
	if text, err := os.ReadFile(filepath.Join(accountFiles, "namespace")); err == nil && len(text) > 0 {
		return strings.TrimSpace(string(text))
	}
	return "penstock-system"
}

// Roles of agents, as in the configuration.
const (
	roleLB      = "lb"
	roleBackend = "backend"
)

// Options say where the API server is, and what is asked of it.
type Options struct {
	Kubeconfig string        // a file; empty: as a pod of the cluster
	Namespace  string        // of the objects that agents share
	Node       string        // name of this node's Node object
	Role       string        // lb or backend
	UserAgent  string        // as in penstock/VERSION
	Hold       time.Duration // how long an endpoint stays that vanished while it was ready; 0: 2 s, below 0: not at all

	accountFiles string // for tests; empty: accountFiles
}

// Client is a way to the API server. Its methods may be called concurrently.
type Client struct {
	Options   Options
	Config    *rest.Config         // must not be modified
	Clientset kubernetes.Interface // limited to 100 requests a second, 200 in a burst

	http  *http.Client
	reads kubernetes.Interface // not limited: what reads limits itself
	link  *linkState
}

// Connect prepares a Client. It reads files and the environment, and sends nothing.
func Connect(o Options, log *slog.Logger) (*Client, error) {
	if o.Role != roleLB && o.Role != roleBackend {
		return nil, fmt.Errorf("connect to Kubernetes: role %q is neither %s nor %s", o.Role, roleLB, roleBackend)
	}
	cfg, err := restConfig(o)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	return connect(o, cfg, log)
}

func connect(o Options, cfg *rest.Config, log *slog.Logger) (*Client, error) {
	link := newLinkState(cfg.Host, time.Now, log)
	cfg = rest.CopyConfig(cfg)
	cfg.UserAgent = o.UserAgent
	if cfg.UserAgent == "" {
		cfg.UserAgent = "penstock"
	}
	cfg.QPS, cfg.Burst = 100, 200
	cfg.ContentType = "application/vnd.kubernetes.protobuf" // a third of JSON's time to decode
	cfg.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	cfg.WarningHandler = rest.NoWarnings{}
	// Of a server that vanished without a word keepalives tell within 25 s, and of one that
	// stands still the HTTP/2 pings of client-go, within 45 s.
	dialer := &net.Dialer{Timeout: 10 * time.Second, KeepAliveConfig: net.KeepAliveConfig{
		Enable: true, Idle: 10 * time.Second, Interval: 5 * time.Second, Count: 3,
	}}
	cfg.Dial = dialer.DialContext
	if file := cfg.BearerTokenFile; file != "" {
		// As client-go does of its own, which reads it again each minute; and besides when
		// the server does not accept it, as after the node has slept.
		cfg.BearerToken, cfg.BearerTokenFile = "", ""
		cfg.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedFileTokenSource(file)))
	}
	cfg.Wrap(link.transport)

	hc, err := rest.HTTPClientFor(cfg)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	writes, err := kubernetes.NewForConfigAndClient(cfg, hc)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	unlimited := rest.CopyConfig(cfg)
	unlimited.QPS = -1
	reads, err := kubernetes.NewForConfigAndClient(unlimited, hc)
	if err != nil {
		return nil, fmt.Errorf("connect to Kubernetes: %w", err)
	}
	return &Client{Options: o, Config: cfg, Clientset: writes, http: hc, reads: reads, link: link}, nil
}

// Link says whether the API server answers, and since when.
func (c *Client) Link() Link { return c.link.get() }

// Close lets go of connections that nothing uses any more.
func (c *Client) Close() { utilnet.CloseIdleConnectionsFor(c.http.Transport) }

func restConfig(o Options) (*rest.Config, error) {
	if o.Kubeconfig != "" {
		cfg, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
		if err != nil {
			return nil, fmt.Errorf("kubeconfig %s: %w; let source.kubeconfig name a file that kubectl can use, or leave it out in a pod of the cluster", o.Kubeconfig, err)
		}
		if cfg.BearerToken != "" && cfg.BearerTokenFile == "" {
			follow(cfg, o.Kubeconfig)
		}
		return cfg, nil
	}
	return podConfig(o)
}

// reread is how old a token may get of which the kubeconfig may have a newer one by now: as
// old as client-go lets one from a file of its own get.
const reread = time.Minute

// follow has the token of a kubeconfig read again. Whoever replaces the file need not start
// the agent anew.
func follow(cfg *rest.Config, file string) {
	cfg.Wrap(transport.ResettableTokenSourceWrapTransport(transport.NewCachedTokenSource(tokenSource{file, cfg.BearerToken})))
	cfg.BearerToken = ""
}

// tokenSource reads the token of a kubeconfig, and has the one of the start for a file that
// is not good at the moment.
type tokenSource struct{ file, first string }

func (t tokenSource) Token() (*oauth2.Token, error) {
	token := &oauth2.Token{AccessToken: t.first, Expiry: time.Now().Add(reread)}
	if cfg, err := clientcmd.BuildConfigFromFlags("", t.file); err == nil && cfg.BearerToken != "" {
		token.AccessToken = cfg.BearerToken
	}
	return token, nil
}

// podConfig is for pods of the cluster. The kubelet replaces the files; they are read again.
func podConfig(o Options) (*rest.Config, error) {
	const wayOut = "run the agent as a pod with a ServiceAccount, or let source.kubeconfig name a file that kubectl can use"
	server := [2]string{}
	for i, name := range []string{"KUBERNETES_SERVICE_HOST", "KUBERNETES_SERVICE_PORT"} {
		if server[i] = os.Getenv(name); server[i] == "" {
			return nil, fmt.Errorf("environment variable %s is not set, so that this is no pod; %s", name, wayOut)
		}
	}
	dir := o.accountFiles
	if dir == "" {
		dir = accountFiles
	}
	token, ca := filepath.Join(dir, "token"), filepath.Join(dir, "ca.crt")
	for _, name := range []string{token, ca} {
		text, err := os.ReadFile(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil, fmt.Errorf("file %s is missing: no ServiceAccount is mounted (automountServiceAccountToken?); %s", name, wayOut)
		case err != nil:
			return nil, fmt.Errorf("%w; %s", err, wayOut)
		case len(text) == 0:
			return nil, fmt.Errorf("file %s is empty; %s", name, wayOut)
		}
	}
	return &rest.Config{
		Host:            "https://" + net.JoinHostPort(server[0], server[1]),
		BearerTokenFile: token,
		TLSClientConfig: rest.TLSClientConfig{CAFile: ca},
	}, nil
}

// holdTime applies the default.
func (o Options) holdTime() time.Duration {
	if o.Hold == 0 {
		return 2 * time.Second
	}
	return max(0, o.Hold)
}
