// Package image tests the container image: that it is the same wherever it is built, holds what it has
// to, and is taken by containerd and skopeo. Docker and Podman have not been tried; Buildah has built
// deploy/Dockerfile once, by hand, with the same files byte for byte.
package image
