#!/bin/bash
# Builds the cache server for 64-bit arm, and runs the tests of the rooms that handle raw memory and bytes under
# Debian's qemu-user. Extra arguments go to the tests. (make build-arm64 builds the operator too, which takes longer.)
#
# What qemu cannot show: kernels with pages larger than this machine's, and a memory order weaker than it.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"
cd "$REPOSITORY"

export GOARCH=arm64
qemu=$(GOARCH='' hack/debs.sh qemu-user-static)/wrapped/qemu-aarch64-static
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say "build cache-server for $GOARCH"
go build -o "$work/cache-server" ./cache-server
"$qemu" "$work/cache-server" -V

# These two replay long streams to judge bytes an item and hits, which do not depend on the processor, and would take
# half of the time.
skip='^(TestDensity|TestKeepsWhatIsWorthKeeping)$'
for package in protocol engine; do
  say "test cache-server/$package under $(basename "$qemu")"
  go test -c -o "$work/$package.test" "./cache-server/$package"
  (cd "cache-server/$package" && timeout 600 "$qemu" "$work/$package.test" -test.short -test.skip "$skip" "$@")
done
say "done"
