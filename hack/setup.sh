#!/usr/bin/env bash
# Makes this machine ready for a make target, and stops with one sentence where it can't.
# Usage: hack/setup.sh build|lint|demo|test
# It does nothing when all is there; otherwise it says what it installs. For Debian 12 or newer.
set -euo pipefail

build=(ca-certificates) # for the Go module proxy
lint=(git make clang-19 llvm-19 clang-format-19 libbpf-dev linux-libc-dev shellcheck)
demo=(git bpftool curl ethtool frr iproute2 iputils-ping jq nginx tcpdump traceroute wrk)
test=(bird2 containerd containernetworking-plugins gcc iperf3 iptables libc6-dev nftables prometheus runc skopeo tshark)
services=(nginx frr bird containerd prometheus) # what those packages would start at the next boot
min_kernel=5.15           # XDP links updated in place, bpf_fib_lookup with VLANs
policy=/usr/sbin/policy-rc.d
log=
temporary=()

main() {
  local packages=() missing
  check_go
  case ${1:-} in
  build) packages=("${build[@]}") ;;
  lint) packages=("${build[@]}" "${lint[@]}") ;;
  demo) packages=("${build[@]}" "${demo[@]}") ;;
  test) packages=("${build[@]}" "${lint[@]}" "${demo[@]}" "${test[@]}") ;;
  *) die "usage: $0 build|lint|demo|test" ;;
  esac
  case $1 in demo | test) check_machine ;; esac
  mapfile -t missing < <(missing_of "${packages[@]}")
  [ ${#missing[@]} -eq 0 ] || install_all "${missing[@]}"
}

check_go() {
  command -v go >/dev/null ||
    die "Go is not in PATH: install Go 1.26 or newer from https://go.dev/dl/ into /usr/local/go."
}

# check_machine: what namespaces and XDP need of the kernel and of the user.
check_machine() {
  local release
  release=$(uname -r)
  [ "$(id -u)" -eq 0 ] ||
    die "This needs root, for network namespaces and XDP: run it with sudo."
  [ "$(printf '%s\n' "$min_kernel" "$release" | sort -V | head -n 1)" = "$min_kernel" ] ||
    die "Kernel $release is too old: $min_kernel or newer is needed."
  [ -r /sys/kernel/btf/vmlinux ] ||
    die "Kernel $release has no BTF at /sys/kernel/btf/vmlinux: run one built with CONFIG_DEBUG_INFO_BTF=y, as Debian's are."
}

# A containerd or runc from elsewhere does too: Docker's packages and Debian's exclude each other.
missing_of() {
  local p
  for p in "$@"; do
    case $p in containerd | runc) ! command -v "$p" >/dev/null || continue ;; esac
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || echo "$p"
  done
}

install_all() {
  command -v apt-get >/dev/null ||
    die "These packages are missing and there is no apt-get to install them: $*."
  [ "$(id -u)" -eq 0 ] ||
    die "These packages are missing and installing them needs root: $*."
  echo "setup: installing with apt: $*" >&2
  trap 'rm -f "${temporary[@]}"' EXIT
  log=$(mktemp) && temporary+=("$log")
  keep_services_stopped
  apt_install "$@" || { apt update && apt_install "$@"; } || {
    cat "$log" >&2
    die "apt-get could not install some of: $*. What it said is above."
  }
  disable_services "$@"
}

apt() {
  DEBIAN_FRONTEND=noninteractive apt-get -y -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1
}

apt_install() { apt install --no-install-recommends "$@"; }

# A package's installation asks policy-rc.d whether it may start its service. A policy of the
# machine's own is respected.
keep_services_stopped() {
  [ ! -e "$policy" ] || return 0
  temporary+=("$policy")
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod 755 "$policy"
}

# disable_services keeps those that came with the packages just installed from starting at the
# next boot: the demo and the tests run their own.
disable_services() {
  local s
  command -v systemctl >/dev/null || return 0
  for s in "${services[@]}"; do
    case " $* " in
    *" $s "* | *" ${s}2 "*) systemctl disable --quiet "$s" 2>/dev/null || true ;;
    esac
  done
}

die() {
  echo "setup: $*" >&2
  exit 1
}

main "$@"
