#!/bin/bash
# kwok.sh: compiles kwok, which plays kubelets, into the cache, and prints its path.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

module=$REPOSITORY/hack/tools/kwok
program=$BIN/kwok
stamp=$CACHE/stamps/kwok
digest=$(digest_of "$module/go.mod" "$module/go.sum" "$(go env GOVERSION)" "$GOFLAGS")
mkdir -p "$CACHE/stamps"

if ! fresh "$stamp" "$digest" "$program"; then
  say "compiling kwok (1 minute on two cores the first time)"
  go build -C "$module" -ldflags '-s -w' -o "$program.new" sigs.k8s.io/kwok/cmd/kwok
  mv "$program.new" "$program"
  echo "$digest" >"$stamp"
fi
echo "$program"
