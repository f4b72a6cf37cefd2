// Package image tests the container image: that it is the same wherever it is built, holds what it has
// to, and is taken by containerd and skopeo. Docker and Podman are not tried.
package image
