#!/bin/bash
# helm.sh: compiles Helm 4, Helm 3 and helm-unittest into the cache, each once a version, and prints the folder of
# helm, helm3 and untt.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

# tool NAME MODULE PACKAGE TIME [VARIABLE=VALUE...]: builds PACKAGE of the tools module hack/tools/MODULE.
tool() {
  local output=$BIN/$1 module=$REPOSITORY/hack/tools/$2 package=$3 time=$4 stamp=$CACHE/stamps/$1
  local digest flags='' version setting
  shift 4
  digest=$(digest_of "$module/go.mod" "$module/go.sum" "$(go env GOVERSION)" "$GOFLAGS" "$@")
  fresh "$stamp" "$digest" "$output" && return
  version=$(go list -C "$module" -m -f '{{.Version}}' "${package%/cmd/*}")
  say "compiling ${package##*/} $version ($time on two cores the first time)"
  for setting in "$@"; do flags+=" -X ${setting/VERSION/$version}"; done
  compile "$module" "$output" "$package" "$flags"
  echo "$digest" >"$stamp"
}

mkdir -p "$CACHE/stamps"
exec 9>"$CACHE/helm.lock"
flock 9
helm4=helm.sh/helm/v4
helm3=helm.sh/helm/v3
tool helm helm $helm4/cmd/helm '1 to 4 minutes' $helm4/internal/version.version=VERSION
# What Helm 3's own Makefile sets beside: the Kubernetes of `helm template` without a cluster.
tool helm3 helm3 $helm3/cmd/helm '1 to 3 minutes' $helm3/internal/version.version=VERSION \
  $helm3/pkg/{chartutil,lint/rules}.k8sVersionMajor=1 $helm3/pkg/{chartutil,lint/rules}.k8sVersionMinor=37
tool untt unittest github.com/helm-unittest/helm-unittest/cmd/helm-unittest '1 minute' \
  $helm3/pkg/chartutil.k8sVersion{Major=1,Minor=37}
echo "$BIN"
