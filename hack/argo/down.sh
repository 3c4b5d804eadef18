#!/bin/bash
# down.sh: ends Argo CD's processes and takes what up.sh put into the cluster of $KUBECONFIG out of it. With KEEP=1 logs
# and the cluster's objects stay. Delete Applications before, so that Argo CD takes along what it has made.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

for name in controller repo redis net relay; do
  p=$(pid $name) || continue
  ! ours "$p" || kill "$p"
  for _ in {1..50}; do
    ours "$p" || break
    sleep 0.1
  done
  ! ours "$p" || kill -KILL "$p"
  rm -f "$MEMKEEP_ARGO_RUN/$name.pid"
done
[[ -z ${KEEP:-} ]] || exit 0
rm -rf "$MEMKEEP_ARGO_RUN"

# Whoever is left has nobody to act on its finalizer any more.
[[ -n ${KUBECONFIG:-} && $(kubectl get namespace argocd -o "jsonpath={.metadata.labels}" 2>/dev/null) == *"$OURS"* ]] ||
  exit 0
for app in $(kubectl -n argocd get applications.argoproj.io -o name 2>/dev/null); do
  kubectl -n argocd patch "$app" --type merge -p '{"metadata":{"finalizers":null}}' >/dev/null
done
kubectl delete crd -l "$OURS" --timeout=60s >/dev/null
kubectl delete namespace argocd --timeout=60s >/dev/null
