#!/bin/bash
# kwok.sh: compiles kwok, which plays kubelets, into the cache, beside its own rules for nodes and pods that are ready
# at once, and prints the folder of both: kwok and kwok-stages.yaml.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

module=$REPOSITORY/hack/tools/kwok
program=$BIN/kwok
stamp=$CACHE/stamps/kwok
digest=$(digest_of "$module/go.mod" "$module/go.sum" "$(go env GOVERSION)" "$GOFLAGS")
mkdir -p "$CACHE/stamps"

if ! fresh "$stamp" "$digest" "$program" "$program-stages.yaml"; then
  say "compiling kwok (1 minute on two cores the first time)"
  compile "$module" "$program" sigs.k8s.io/kwok/cmd/kwok
  stages=$(go list -C "$module" -m -f '{{.Dir}}' sigs.k8s.io/kwok)/kustomize/stage
  for file in "$stages"/node/fast/node-*.yaml "$stages"/node/heartbeat-with-lease/node-*.yaml \
    "$stages"/pod/fast/pod-*.yaml; do
    echo ---
    cat "$file"
  done >"$program-stages.yaml"
  echo "$digest" >"$stamp"
fi
echo "$BIN"
