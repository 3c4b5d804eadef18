#!/bin/bash
# up.sh: brings the cluster up and waits until it is ready. Safe to run at any time: a cluster that is up is left alone.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"
# shellcheck source=lib/undo.sh
. "$CLUSTER_DIR/lib/undo.sh"
# shellcheck source=lib/pki.sh
. "$CLUSTER_DIR/lib/pki.sh"
# shellcheck source=lib/network.sh
. "$CLUSTER_DIR/lib/network.sh"

case $CLUSTER in
  kind | current) exec "$CLUSTER_DIR/$CLUSTER.sh" up ;;
esac
need_root
"$CLUSTER_DIR/build.sh"
lock

# refuse_foreign ends the script when the cluster that is up belongs to another cache.
refuse_foreign() {
  local owner
  owner=$(cat "$OWNER" 2>/dev/null || true)
  [[ -z $owner || $owner == "$STATE" ]] ||
    die "another development cluster is up: end it with MEMKEEP_CACHE=${owner%/cluster} make cluster-down"
}

# reuse ends the script when the cluster that is up will do; returns when a new one is to be made.
reuse() {
  local nodes cni
  nodes=$(recorded NODES)
  cni=$(recorded CNI)
  if [[ -n $RECREATE ]]; then
    say "RECREATE is set: removing the cluster that is up"
    return
  fi
  if [[ ${WANTED_NODES:-$nodes} != "$nodes" || ${WANTED_CNI:-$cni} != "$cni" ]]; then
    die "a cluster with NODES=$nodes CNI=$cni is up: use it, or run make cluster-down first, or set RECREATE=1"
  fi
  if [[ ! -e $STATE/ready ]]; then
    say "an earlier cluster-up did not end: removing what it left"
    return
  fi
  if ! api_ready || ! nodes_ready 20; then
    die "the cluster is up, but not healthy: see make cluster-status; RECREATE=1 make cluster-up makes a new one"
  fi
  say "already up (NODES=$nodes CNI=$cni)"
  exit 0
}

# nodes_ready SECONDS: whether all nodes are there and become Ready in time.
nodes_ready() {
  local nodes
  nodes=$(node_names "$(recorded NODES)" | sed 's,^,node/,')
  # shellcheck disable=SC2086 # a list of nodes
  wait_until "$1" kube get $nodes >/dev/null 2>&1 &&
    kube wait --for=condition=Ready $nodes --timeout="$1s" >/dev/null 2>&1
}

# fail COMPONENT NODE REASON: ends the script with the end of the component's log.
fail() {
  local log=$STATE/$2/log/$1.log
  {
    echo
    echo "cluster-up failed: $3"
    echo "--- the last lines of $log:"
    tail -n 12 "$log" 2>/dev/null | cut -c 1-400
    echo "--- and of $STATE/$2/init.log:"
    tail -n 5 "$STATE/$2/init.log" 2>/dev/null
    echo "--- components that were started again:"
    grep -Hv '^0$' "$STATE"/n*/restarts/* 2>/dev/null | sed "s,^$STATE/,," || echo none
    echo "--- all logs are in $STATE/n*/log; what is left can be seen with make cluster-status,"
    echo "    and goes away with make cluster-down or with the next make cluster-up"
  } >&2
  exit 1
}

# start_node NODE makes the node's surroundings and starts it.
start_node() {
  local node=$1
  mkdir -p "$STATE/$node"
  cgroup_make "$node"
  network_make_node "$node"
  setsid "$CLUSTER_DIR/node/enter.sh" "$node" >"$STATE/$node/init.log" 2>&1 </dev/null 8>&- &
}

# make_cluster notes every step before it is taken, for cluster-down.
make_cluster() {
  local folder node
  mkdir -p "$STATE"
  echo "$STATE" >"$OWNER"
  printf 'NODES=%s\nCNI=%s\n' "$NODES" "$CNI" >"$STATE/settings"
  while read -r folder; do make_directory "$folder"; done < <(node_folders)
  pki_make
  network_make_lan
  export NODES CNI
  for node in $(node_names "$NODES"); do start_node "$node"; done
  relay_start
}

# guilty_component NODE prints what most likely kept the node from being ready.
guilty_component() {
  local component
  for component in containerd kubelet cilium; do
    [[ $(cat "$STATE/$1/restarts/$component" 2>/dev/null) == 0 ]] || { echo "$component" && return; }
  done
  [[ $CNI == cilium ]] && echo cilium || echo kubelet
}

wait_for_cluster() {
  local node
  wait_until "$API_TIMEOUT" api_ready ||
    fail apiserver n1 "the API server is not ready after $API_TIMEOUT seconds"
  say "API server ready"
  kube apply -f "$CLUSTER_DIR/manifests" >/dev/null || fail apiserver n1 "cannot apply $CLUSTER_DIR/manifests"
  for node in $(node_names "$NODES"); do
    wait_until "$NODE_TIMEOUT" node_is_ready "$node" ||
      fail "$(guilty_component "$node")" "$node" "node $node is not Ready after $NODE_TIMEOUT seconds"
    say "node $node Ready"
  done
  kube -n kube-system rollout status deployment/coredns --timeout="${DNS_TIMEOUT}s" >/dev/null ||
    fail kubelet n1 "CoreDNS is not available after $DNS_TIMEOUT seconds: kubectl -n kube-system describe pods"
  say "CoreDNS answers"
}

node_is_ready() {
  [[ $(kube get node "$1" -o jsonpath='{.status.conditions[?(@.type=="Ready")].status}' 2>/dev/null) == True ]]
}

refuse_foreign
if is_up; then reuse; fi
clear_cluster
! port_taken || die "127.0.0.1:$API_PORT is in use: set API_PORT to another port"
say "starting $NODES node(s) with CNI=$CNI"
make_cluster
wait_for_cluster
touch "$STATE/ready"
say "up; export KUBECONFIG=$KUBECONFIG_DEV"
