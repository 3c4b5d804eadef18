#!/usr/bin/env bash
# Renders dist/install.yaml: config/default with the images of dist/images/refs
# (the manager's reference on the first line, the cache server's on the second).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOFLAGS='-trimpath -buildvcs=false' CGO_ENABLED=0

refs=dist/images/refs
[ -s "$refs" ] || { echo "install-yaml: $refs is missing: run 'make images' first" >&2; exit 1; }
manager=$(sed -n 1p "$refs")
cache=$(sed -n 2p "$refs")

# expect LINE IMAGE REFERENCE ends the script unless REFERENCE names IMAGE.
expect() {
  [[ $3 == */$2[:@]* ]] && return
  echo "install-yaml: $refs, line $1: no $2 image: '$3'" >&2
  exit 1
}
expect 1 manager "$manager"
expect 2 cache-server "$cache"

# Every tag of the cache server's repository is an image of fleets: running ones keep theirs over an upgrade.
repository=${cache%%@*}
[[ ${repository##*/} != *:* ]] || repository=${repository%:*}

overlay=dist/install
mkdir -p "$overlay"
cat >"$overlay/kustomization.yaml" <<YAML
apiVersion: kustomize.config.k8s.io/v1beta1
kind: Kustomization
resources:
- ../../config/default
patches:
- target: {kind: Deployment, name: memkeep-manager}
  patch: |-
    apiVersion: apps/v1
    kind: Deployment
    metadata: {name: memkeep-manager}
    spec:
      template:
        spec:
          containers:
          - name: manager
            image: $manager
            env:
            - name: CACHE_IMAGE
              value: $cache
- target: {kind: DaemonSet, name: memkeep-(outsider|decoy)}
  patch: |-
    - {op: test, path: /spec/template/spec/containers/0/name, value: prober}
    - {op: replace, path: /spec/template/spec/containers/0/image, value: "$manager"}
- target: {kind: ValidatingAdmissionPolicy, name: memkeep-operator-workloads}
  patch: |-
    - {op: test, path: /spec/variables/0/name, value: images}
    - {op: replace, path: /spec/variables/0/expression, value: "['$repository']"}
YAML
go tool -modfile=hack/tools/go.mod kustomize build "$overlay" >dist/install.yaml.new
for wanted in "image: $manager" "value: $cache" "expression: '[''$repository'']'"; do
  grep -qF "$wanted" dist/install.yaml.new && continue
  echo "install-yaml: config/default has no place for '$wanted'" >&2
  exit 1
done
if [ "$(grep -cF "image: $manager" dist/install.yaml.new)" != 3 ]; then
  echo "install-yaml: the manager's image belongs to one Deployment and two DaemonSets" >&2
  exit 1
fi
mv dist/install.yaml.new dist/install.yaml
