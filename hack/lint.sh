#!/bin/bash
# lint.sh ARGS: golangci-lint with kube-api-linter built in, compiled once into the cache.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

module=$REPOSITORY/hack/tools/lint
linter=$BIN/golangci-lint
stamp=$CACHE/stamps/golangci-lint
digest=$(digest_of "$module/go.mod" "$module/go.sum" "$(go env GOVERSION)" "$GOFLAGS")
mkdir -p "$CACHE/stamps"

if ! fresh "$stamp" "$digest" "$linter"; then
  say "compiling golangci-lint (2 minutes on two cores the first time)"
  go build -C "$module" -ldflags '-s -w' -o "$linter.new" \
    sigs.k8s.io/kube-api-linter/cmd/golangci-lint-kube-api-linter
  mv "$linter.new" "$linter"
  echo "$digest" >"$stamp"
fi
cd "$REPOSITORY"
exec "$linter" "$@"
