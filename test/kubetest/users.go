package kubetest

import (
	"bytes"
	"crypto/rand"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"

	"k8s.io/client-go/tools/clientcmd"
)

// writeTokens gives each user a token. The server reads them at its start and takes the first line
// for the administrator's; without a list it makes one for that one alone.
func (s *Server) writeTokens() error {
	if len(s.opts.Users) == 0 {
		return nil
	}
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{rand.Text(), "admin", "admin", "system:masters"})
	for i := range s.opts.Users {
		u := &s.opts.Users[i]
		u.token = rand.Text()
		_ = w.Write([]string{u.token, u.Name, u.Name, strings.Join(u.Groups, ",")})
	}
	w.Flush()
	return os.WriteFile(filepath.Join(s.dir, "tokens.csv"), b.Bytes(), 0o600)
}

// KubeconfigOf is a kubeconfig of one of the users, for where the API server is reached at an
// address of its own, such as https://10.96.0.1:443.
func (s *Server) KubeconfigOf(user, server string) ([]byte, error) {
	for _, u := range s.opts.Users {
		if u.Name != user {
			continue
		}
		c := clientcmdapi.NewConfig()
		c.Clusters["kubetest"] = &clientcmdapi.Cluster{Server: server, CertificateAuthorityData: s.Config.CAData}
		c.AuthInfos[user] = &clientcmdapi.AuthInfo{Token: u.token}
		c.Contexts["kubetest"] = &clientcmdapi.Context{Cluster: "kubetest", AuthInfo: user}
		c.CurrentContext = "kubetest"
		return clientcmd.Write(*c)
	}
	return nil, fmt.Errorf("kubeconfig of %s: no such user", user)
}
