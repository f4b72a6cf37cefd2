package load

import (
	"encoding/json"
	"net/http"
)

// Answer is what a site says of a request.
type Answer struct {
	Pod    string // of the site itself
	Proxy  string // that passed the request on
	Client string // the address that the proxy saw
	Host   string
}

// Site is the web site of a pod behind a proxy that tells of itself and of its client as Traefik does.
func Site(pod string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(Answer{ // a client that has left is told nothing
			Pod: pod, Proxy: r.Header.Get("X-Forwarded-Server"), Client: r.Header.Get("X-Real-Ip"), Host: r.Host,
		})
	})
}
