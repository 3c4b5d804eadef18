#!/usr/bin/env bash
# Writes every generated file anew: deep copies, apply configurations, the CRD,
# the manager's RBAC rules, the API reference and what the Helm chart has of them. hack/verify-generated.sh runs
# it in a copy of the tree and compares.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
export GOFLAGS='-trimpath -buildvcs=false' CGO_ENABLED=0

controller_gen() {
  go tool -modfile=hack/tools/go.mod controller-gen "$@"
}

# A type that is gone must not leave its apply configuration behind. The types
# build without them, the operator does not: so both come before the RBAC rules.
rm -rf api/v1alpha1/applyconfiguration
controller_gen paths=./api/v1alpha1 \
  object:headerFile=hack/boilerplate.go.txt \
  applyconfiguration:headerFile=hack/boilerplate.go.txt \
  crd output:crd:artifacts:config=config/crd/bases
controller_gen paths='{./controllers/...,./cmd/manager/...}' \
  rbac:roleName=memkeep-manager output:rbac:artifacts:config=config/rbac
go run ./hack/apidoc config/crd/bases/memkeep.io_memcaches.yaml >docs/api.md.new
mv docs/api.md.new docs/api.md

# What the operator reads of others is a role of its own in a release that keeps some namespaces only.
reader=$(mktemp)
trap 'rm -f "$reader"' EXIT
controller_gen paths=./controllers/observe rbac:roleName=memkeep-manager-reader output:rbac:stdout >"$reader"
go run ./hack/chart "$reader"
