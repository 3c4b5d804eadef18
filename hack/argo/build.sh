#!/bin/bash
# build.sh: compiles Argo CD's repo server and application controller, unmodified, and a stand-in for Redis into the
# cache. Nothing is done when they are there already, made from the same modules with the same compiler.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

module=github.com/argoproj/argo-cd/v3
links=(argocd-repo-server argocd-application-controller argocd-git-ask-pass)
have go || die "go is missing: install Go 1.26.3 or later"
stamp=$CACHE/stamps/argo
digest=$(digest_of "$ARGO_DIR"/{go.mod,go.sum,build.sh} "$ARGO_DIR"/{argocd,miniredis}/*.go "$(go env GOVERSION)" "$GOFLAGS")
mkdir -p "$CACHE/stamps" "$ARGO/bin"

exec 9>"$CACHE/argo.lock"
flock -n 9 || { say "waiting for another build of Argo CD"; flock 9; }
fresh "$stamp" "$digest" "$ARGO"/bin/{argocd,miniredis,git-verify-wrapper.sh} "${links[@]/#/$ARGO/bin/}" \
  "$ARGO"/crds/application-crd.yaml "$ARGO"/config/kustomization.yaml && exit 0

version=$(go list -C "$ARGO_DIR" -m -f '{{.Version}}' $module)
say "compiling Argo CD $version (2 minutes on two cores where Kubernetes is compiled, 4 else)"
compile "$ARGO_DIR" "$ARGO/bin/argocd" ./argocd "-X $module/common.version=${version#v}"
compile "$ARGO_DIR" "$ARGO/bin/miniredis" ./miniredis
for name in "${links[@]}"; do
  ln -sf argocd "$ARGO/bin/$name"
done
# Out of the module: its custom resources, its settings, and a script that the repo server runs for every revision.
source=$(go list -C "$ARGO_DIR" -m -f '{{.Dir}}' $module)
rm -rf "$ARGO"/{crds,config}
install -m 644 -D -t "$ARGO/crds" "$source"/manifests/crds/{application,appproject}-crd.yaml
install -m 644 -D -t "$ARGO/config" "$source"/manifests/base/config/*.yaml
install -m 755 -t "$ARGO/bin" "$source/hack/git-verify-wrapper.sh"
echo "$digest" >"$stamp"
say "Argo CD $version is in $ARGO"
