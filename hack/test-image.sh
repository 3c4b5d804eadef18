#!/bin/bash
# test-image.sh: builds the Dockerfile's images offline with the distribution's buildah, from bin/, and looks into them.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

((EUID == 0)) || die "the image's files are looked at as root: run as root"
for program in manager cache-server; do
  [[ -x $REPOSITORY/bin/$program ]] || die "bin/$program is missing: run make build"
done
"$REPOSITORY/hack/debs.sh" buildah >/dev/null
export MEMKEEP_BUILDAH=$BIN/buildah
cd "$REPOSITORY"
exec go test -tags image -count=1 -v ./test/image
