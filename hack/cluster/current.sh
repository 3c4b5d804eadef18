#!/bin/bash
# current.sh up|down|status|load: the same commands with a cluster of your own, the current context of your kubeconfig.
# None of them makes, changes or removes a cluster. load pushes images to IMAGE_REGISTRY, and because what follows it
# changes the cluster, it wants the context's name in CONFIRM.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"

kubectl=$(command -v kubectl || true)
[[ -n $kubectl ]] || kubectl=$BIN/kubectl
[[ -x $kubectl ]] || die "kubectl is missing: install it, or run hack/cluster/build.sh assets"
context=$("$kubectl" config current-context 2>/dev/null) ||
  die "CLUSTER=current: there is no current context in ${KUBECONFIG:-$HOME/.kube/config}"

reachable() {
  "$kubectl" --request-timeout=10s get --raw /readyz >/dev/null ||
    die "CLUSTER=current: the cluster of context $context does not answer"
}

confirmed() {
  [[ ${CONFIRM:-} == "$context" ]] ||
    die "CLUSTER=current: this would change the cluster of context $context; if you mean it, set CONFIRM=$context"
}

load() {
  confirmed
  reachable
  [[ $IMAGE_REGISTRY != memkeep.io ]] ||
    die "CLUSTER=current: set IMAGE_REGISTRY to a registry that you may push to and the cluster can pull from"
  [[ -x $BIN/mkimage ]] || die "the image tool is missing: run make images"
  for archive in "$@"; do
    tar -xOf "$archive" manifest.json | grep -qF "\"$IMAGE_REGISTRY/" ||
      die "$archive was not made for $IMAGE_REGISTRY: run make images IMAGE_REGISTRY=$IMAGE_REGISTRY"
  done
  "$BIN/mkimage" push "$@"
}

case ${1:-} in
  up)
    reachable
    say "context $context answers; nothing was changed"
    ;;
  down) say "CLUSTER=current: the cluster of context $context is yours, and stays" ;;
  status)
    reachable
    echo "context $context"
    "$kubectl" get nodes -o wide
    ;;
  load)
    shift
    load "$@"
    ;;
  *) die "usage: current.sh up|down|status|load ARCHIVE..." ;;
esac
