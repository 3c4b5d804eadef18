#!/usr/bin/env bash
# Checks what a machine must bring, and installs a C compiler where there is none. Prints nothing when all is there.
set -euo pipefail

fail() {
  echo "memkeep: $*" >&2
  exit 1
}

[ "$(uname -s)" = Linux ] || fail "the development cluster and its tests need Linux"
[ "$(id -u)" = 0 ] || fail "run this as root: it makes network namespaces and mounts"
command -v go >/dev/null || fail "go is not in PATH: install Go 1.26 or newer from https://go.dev/dl/"
command -v git >/dev/null || fail "git is not in PATH"

missing=()
# The race detector is the one thing that needs a C compiler.
command -v gcc >/dev/null || missing+=(gcc libc6-dev)
if [ ${#missing[@]} -gt 0 ]; then
  command -v apt-get >/dev/null || fail "install these first: ${missing[*]}"
  echo "memkeep: installing ${missing[*]} with apt"
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
