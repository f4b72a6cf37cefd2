# Sourced by scripts that build a program of a module of its own, which is not for the time limit
# of go test: once NAME FILE... prints the directory bin/NAME/KEY, KEY being of the contents of the
# files, and calls build DIRECTORY before where that was not built yet.
# shellcheck shell=bash
once() {
  local name=$1 key out
  shift
  key=$(cat "$@" | sha256sum | cut -c 1-12)
  out=$PWD/bin/$name/$key
  mkdir -p "bin/$name"
  exec 9>"bin/$name/lock"
  flock 9 # go test runs packages side by side
  if [ ! -e "$out/built" ]; then
    find "bin/$name" -mindepth 1 -maxdepth 1 -type d -exec rm -rf {} +
    mkdir "$out"
    GOWORK=off GOFLAGS=-buildvcs=false build "$out" >&2
    touch "$out/built"
    echo "$name: built" >&2
  fi
  echo "$out"
}
