#!/bin/bash
# kind.sh up|down|status|load: the same commands with a cluster made by kind, called memkeep, where Docker and kind are
# present. kind's own network enforces NetworkPolicy since kind 0.24.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"

name=memkeep

for program in docker kind; do
  have $program || die "CLUSTER=kind needs $program, which this machine lacks; CLUSTER=dev needs neither"
done
docker info >/dev/null 2>&1 || die "CLUSTER=kind: the Docker daemon does not answer (docker info shows why)"

enforces() {
  local version
  version=$(kind version -q)
  version=${version#v}
  [[ $(printf '%s\n' 0.24.0 "$version" | sort -V | head -1) == 0.24.0 ]]
}

exists() {
  kind get clusters 2>/dev/null | grep -qx $name
}

# config prints a cluster of NODES nodes; the first is control plane and worker.
config() {
  local i
  printf 'kind: Cluster\napiVersion: kind.x-k8s.io/v1alpha4\nnodes:\n- role: control-plane\n'
  for ((i = 1; i < NODES; i++)); do echo "- role: worker"; done
}

up() {
  enforces || die "kind $(kind version -q) ignores NetworkPolicy: update to 0.24 or later"
  [[ -z $WANTED_CNI || $WANTED_CNI == cilium ]] || die "CNI=$WANTED_CNI is a flavour of CLUSTER=dev"
  if exists && [[ -z $RECREATE ]]; then
    say "kind cluster $name is already up"
  else
    ! exists || kind delete cluster --name $name
    config | kind create cluster --name $name --config - --wait 180s
  fi
  mkdir -p "$(dirname "$KUBECONFIG_KIND")"
  (umask 077 && kind get kubeconfig --name $name >"$KUBECONFIG_KIND")
  say "up; export KUBECONFIG=$KUBECONFIG_KIND"
}

case ${1:-} in
  up) up ;;
  down)
    kind delete cluster --name $name
    rm -f "$KUBECONFIG_KIND"
    ;;
  status)
    exists || die "kind cluster $name is not up: run make cluster-up CLUSTER=kind"
    echo "kind cluster $name, kubeconfig $KUBECONFIG_KIND"
    docker exec $name-control-plane kubectl --kubeconfig=/etc/kubernetes/admin.conf get nodes -o wide
    ;;
  load)
    shift
    exists || die "kind cluster $name is not up: run make cluster-up CLUSTER=kind"
    for archive in "$@"; do
      kind load image-archive "$archive" --name $name
    done
    ;;
  *) die "usage: kind.sh up|down|status|load ARCHIVE..." ;;
esac
