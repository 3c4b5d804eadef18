#!/bin/bash
# helm.sh: compiles Helm 4, Helm 3 and helm-unittest into the cache, each once a version, and prints the folder of
# helm, helm3 and untt.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

# compile OUTPUT MODULE PACKAGE TIME [VERSION-VARIABLE]: builds PACKAGE of the tools module hack/tools/MODULE.
compile() {
  local output=$BIN/$1 module=$REPOSITORY/hack/tools/$2 package=$3 time=$4 variable=${5:-} stamp=$CACHE/stamps/$1
  local digest flags='-s -w' root=${3%/cmd/*} version
  digest=$(digest_of "$module/go.mod" "$module/go.sum" "$(go env GOVERSION)" "$GOFLAGS" "$variable")
  fresh "$stamp" "$digest" "$output" && return
  version=$(go list -C "$module" -m -f '{{.Version}}' "$root")
  say "compiling ${package##*/} $version ($time on two cores the first time)"
  [[ -z $variable ]] || flags+=" -X $variable=$version"
  go build -C "$module" -ldflags "$flags" -o "$output.new" "$package"
  mv "$output.new" "$output"
  echo "$digest" >"$stamp"
}

mkdir -p "$CACHE/stamps"
exec 9>"$CACHE/helm.lock"
flock 9
compile helm helm helm.sh/helm/v4/cmd/helm '1 to 4 minutes' helm.sh/helm/v4/internal/version.version
compile helm3 helm3 helm.sh/helm/v3/cmd/helm '1 to 3 minutes' helm.sh/helm/v3/internal/version.version
compile untt unittest github.com/helm-unittest/helm-unittest/cmd/helm-unittest '1 minute'
echo "$BIN"
