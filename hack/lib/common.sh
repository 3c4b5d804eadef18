# shellcheck shell=bash disable=SC2034
# Sourced by the scripts of hack/: where things are cached, and how a script speaks.

REPOSITORY=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
CACHE=${MEMKEEP_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/memkeep}
BIN=$CACHE/bin
mkdir -p "$BIN"

# One set of build flags everywhere, so that all builds share one cache of compiled packages.
export GOFLAGS='-trimpath -buildvcs=false' CGO_ENABLED=0

# say prints a line of progress with the seconds since the script began.
say() {
  printf '%5ds  %s\n' "$SECONDS" "$*" >&2
}

# die prints what is wrong and ends the script.
die() {
  printf '%s: %s\n' "$(basename "$0")" "$*" >&2
  exit 1
}

have() {
  command -v "$1" >/dev/null 2>&1
}

# digest_of prints one digest of the given files' content and of the given words.
digest_of() {
  local item
  for item in "$@"; do
    if [[ -f $item ]]; then cat -- "$item"; else printf '%s\n' "$item"; fi
  done | sha256sum | cut -c 1-24
}

# fresh STAMP DIGEST FILE...: whether STAMP holds DIGEST and every FILE exists.
fresh() {
  local stamp=$1 digest=$2 file
  shift 2
  [[ -f $stamp && $(<"$stamp") == "$digest" ]] || return 1
  for file in "$@"; do [[ -e $file ]] || return 1; done
}

# compile DIRECTORY OUTPUT PACKAGE [LDFLAGS]: go build in the module DIRECTORY, with a sign of life every half minute.
compile() {
  local directory=$1 output=$2 package=$3 flags="-s -w ${4:-}" builder begun=$SECONDS
  go build -C "$directory" -ldflags "$flags" -o "$output.new" "$package" &
  builder=$!
  while kill -0 $builder 2>/dev/null; do
    sleep 0.3
    if ((SECONDS - begun >= 30)); then
      begun=$SECONDS
      say "... still compiling ${output##*/}"
    fi
  done
  wait $builder || die "cannot compile $package in $directory; the reason is above"
  mv "$output.new" "$output"
}
