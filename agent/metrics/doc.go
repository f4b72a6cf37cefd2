// Package metrics shows an agent to Prometheus. Everything is read at the moment
// of the scrape, from the kernel's counters and from the agent's status, so that
// nothing is counted twice and nothing runs between scrapes.
package metrics
