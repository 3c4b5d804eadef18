#!/bin/bash
# up.sh: runs Argo CD's repo server and application controller as processes of this machine against the cluster of
# $KUBECONFIG, with the health check of config/argocd. An Application names a local git repository as
# repoURL: file:///absolute/path. RESYNC is how often git is asked and everything is compared (5s).
#
# They live in a network namespace of their own, since some of their ports can be bound to no address but all. Its one
# way out is a unix socket to the API server.
set -euo pipefail
# shellcheck source=lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

(($# == 0)) || die "usage: up.sh"
((EUID == 0)) || die "it makes a network namespace: run as root"
RUN=$MEMKEEP_ARGO_RUN
# Settings of a git hook or of a user of Argo CD would take part.
# shellcheck disable=SC2086
unset ${!GIT_@} ${!ARGOCD_@}
export LC_ALL=C
[[ ${KUBECONFIG:?must name the kubeconfig} != *:* ]] || die "KUBECONFIG is a list: name one file"
KUBECONFIG=$(realpath "$KUBECONFIG")
export KUBECONFIG
for tool in git helm kubectl socat nsenter unshare ip; do have $tool || die "$tool is missing"; done

# start NAME COMMAND...: a part that outlives this script.
start() {
  local name=$1
  shift
  setsid "$@" >"$RUN/$name.log" 2>&1 </dev/null 9>&- &
  echo $! >"$RUN/$name.pid"
}

start_in_net() {
  local name=$1
  shift
  start "$name" nsenter --net="/proc/$(pid net)/ns/net" -- "$@"
}

# answers PORT PATH: whether there is an answer of 200 in Argo CD's network namespace.
answers() {
  # shellcheck disable=SC2016
  in_net timeout 2 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$1" && printf "GET %s HTTP/1.0\r\n\r\n" "$2" >&3 &&
    read -r _ code _ <&3 && [[ $code == 200 ]]' - "$1" "$2" 2>/dev/null
}

# healthy NAME PORT PATH waits for a part.
healthy() {
  local i
  for ((i = 0; i < 300; i++)); do
    if answers "$2" "$3"; then return; fi
    kill -0 "$(pid "$1")" 2>/dev/null || break
    sleep 0.1
  done
  die "the $1 did not come up"
}

k() {
  kubectl -n argocd "$@" >>"$RUN/apply.log" 2>&1
}

# mine KIND NAME: fails where the cluster has such an object that no run of ours has made.
mine() {
  local labels
  labels=$(kubectl get "$1" "$2" --ignore-not-found -o jsonpath='{.metadata.name} {.metadata.labels}')
  [[ -z $labels || $labels == *"$OURS"* ]] || die "$1 $2 is there: this cluster has an Argo CD of its own"
}

"$ARGO_DIR/down.sh"
for crd in "${CRDS[@]}"; do mine crd "$crd"; done
mine namespace argocd
mkdir -p "$RUN"/{home,tmp,tls,ssh,gpg,plugins}
trap '[[ $? == 0 ]] || { tail -n 5 "$RUN"/*.log; KEEP=1 "$ARGO_DIR/down.sh"; }' EXIT

# A home and folders of its own: no setting of the user's for git, helm or gpg takes part. Argo CD runs git with
# HOME=/dev/null, and must be told by this variable that repositories may be somebody else's.
export HOME=$RUN/home TMPDIR=$RUN/tmp XDG_CACHE_HOME=$RUN/home/.cache XDG_CONFIG_HOME=$RUN/home/.config
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=$RUN/home/.gitconfig
git config --global safe.directory '*'
export ARGOCD_TLS_DATA_PATH=$RUN/tls ARGOCD_SSH_DATA_PATH=$RUN/ssh ARGOCD_GNUPGHOME=$RUN/gpg ARGOCD_GPG_ENABLED=false
export ARGOCD_PLUGINSOCKFILEPATH=$RUN/plugins ARGOCD_ASK_PASS_SOCK=$RUN/ask-pass.sock
# https://kubernetes.default.svc is the cluster of $KUBECONFIG.
export ARGOCD_FAKE_IN_CLUSTER=true
export ARGOCD_RECONCILIATION_TIMEOUT=${RESYNC:-5s} ARGOCD_RECONCILIATION_JITTER=0s

api=$(kubectl config view --minify -o 'jsonpath={.clusters[0].cluster.server}')
api=${api#https://}
case $api in 127.0.0.1:* | localhost:*) ;; *) die "the API server must be at 127.0.0.1, not $api" ;; esac
start relay socat "UNIX-LISTEN:$RUN/api.sock,fork" "TCP:$api"
start net unshare --net -- sh -c "ip link set lo up &&
  exec socat TCP-LISTEN:${api##*:},bind=127.0.0.1,reuseaddr,fork UNIX-CONNECT:$RUN/api.sock"
until [[ $(readlink "/proc/$(pid net)/ns/net") != "$(readlink /proc/self/ns/net)" ]]; do
  kill -0 "$(pid net)" 2>/dev/null || die "no network namespace: $(cat "$RUN/net.log")"
  sleep 0.05
done
start_in_net redis miniredis 127.0.0.1:6379
start_in_net repo argocd-repo-server --address 127.0.0.1 --metrics-address 127.0.0.1 --redis 127.0.0.1:6379

# The custom resources are too large for client-side apply's annotation.
k apply --server-side --force-conflicts -f "$ARGO/crds"
k label crd "${CRDS[@]}" "$OURS=true" --overwrite
kubectl get namespace argocd >/dev/null 2>&1 || k create namespace argocd
k label namespace argocd "$OURS=true" --overwrite
k apply --server-side --force-conflicts -k "$ARGO/config"
k patch configmap argocd-cm --type merge --patch-file "$REPOSITORY/config/argocd/argocd-cm.yaml"
k wait --for=condition=Established "${CRDS[@]/#/crd/}"
healthy repo 8084 '/healthz?full=true'
start_in_net controller argocd-application-controller -n argocd --repo-server 127.0.0.1:8081 --redis 127.0.0.1:6379 \
  --persist-resource-health
healthy controller 8082 /healthz
say "Argo CD is up; logs are in $RUN"
