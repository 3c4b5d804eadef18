#!/bin/bash
# images.sh: makes the images' archives and references in dist/images from the static binaries in bin/.
#
# refs holds the references of the manager and of the cache server, one a line; test-refs that of the dialer, which the
# demo and the tests use. IMAGE_REGISTRY takes the place of memkeep.io in them. An image whose binary has not changed
# keeps its reference, to the byte.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

registry=${IMAGE_REGISTRY:-memkeep.io}
version=$(<"$REPOSITORY/VERSION")
output=$REPOSITORY/dist/images
mkdir -p "$output"

go build -C "$REPOSITORY/hack/tools" -ldflags '-s -w' -o "$BIN/mkimage" ./mkimage

# image NAME DESCRIPTION: makes dist/images/NAME.tar from bin/NAME and prints its reference.
image() {
  [[ -x $REPOSITORY/bin/$1 ]] || die "bin/$1 is missing: run make build"
  "$BIN/mkimage" build \
    -output "$output/$1.tar" \
    -repository "$registry/$1" \
    -version "$version" \
    -binary "$REPOSITORY/bin/$1" \
    -description "$2"
}

manager=$(image manager "Memkeep's operator: keeps fleets of memcached-compatible caches secure")
server=$(image cache-server "Memkeep's memcached-compatible cache server")
dialer=$(image dialer "Dials caches and shows what it sends and receives; for demos and tests")
printf '%s\n%s\n' "$manager" "$server" >"$output/refs"
printf '%s\n' "$dialer" >"$output/test-refs"
cat "$output/refs" "$output/test-refs"
