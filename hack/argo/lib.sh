# shellcheck shell=bash disable=SC2034
# Sourced by the scripts of hack/argo: where Argo CD is built, and where a run of it keeps its state.

ARGO_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck source=../lib/common.sh
. "$ARGO_DIR/../lib/common.sh"

ARGO=$CACHE/argo                   # programs, custom resources and settings of Argo CD
# Logs, process ids and keys of a run; also the mark on its processes. Two runs need two folders, and two clusters.
export MEMKEEP_ARGO_RUN=${MEMKEEP_ARGO_RUN:-$CACHE/argo-run}
PATH=$ARGO/bin:$BIN:$PATH:$CACHE/tools

OURS=gitops.memkeep.test/run       # label of what a run puts into a cluster
CRDS=(applications.argoproj.io appprojects.argoproj.io)

# ours PID: whether the process is one of this run, and not somebody else's that got its number.
ours() {
  [[ -n ${1:-} ]] && grep -qzxF "MEMKEEP_ARGO_RUN=$MEMKEEP_ARGO_RUN" "/proc/$1/environ" 2>/dev/null
}

# pid NAME: the process id of a part.
pid() {
  cat "$MEMKEEP_ARGO_RUN/$1.pid" 2>/dev/null
}

# in_net COMMAND...: runs it in Argo CD's network namespace, where its ports are.
in_net() {
  nsenter --net="/proc/$(pid net)/ns/net" -- "$@"
}
