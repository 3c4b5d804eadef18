#!/bin/bash
# init.sh NODE: pid 1 of a node. Prepares the file system and starts the node's components.
#
# Everything is started at once; a component that ends, for instance because what it needs is not there yet, is
# started again after a second.
set -uo pipefail
# shellcheck source=../lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/cluster.sh"
node=$1
home=$STATE/$node
export PATH=$TOOLS:$BIN:$PATH
mkdir -p "$home/log" "$home/restarts"

# component NAME CMD...: runs CMD for ever; its output goes to log/NAME.log, its restarts are counted.
component() {
  local name=$1 restarts=0
  shift
  while :; do
    echo "$restarts" >"$home/restarts/$name"
    "$@" >>"$home/log/$name.log" 2>&1
    echo "--- ended with code $?" >>"$home/log/$name.log"
    restarts=$((restarts + 1))
    sleep 1
  done &
}

# shellcheck source=mounts.sh
. "$CLUSTER_DIR/node/mounts.sh"
# shellcheck source=control-plane.sh
. "$CLUSTER_DIR/node/control-plane.sh"
# shellcheck source=worker.sh
. "$CLUSTER_DIR/node/worker.sh"
# shellcheck source=pod-network.sh
. "$CLUSTER_DIR/node/pod-network.sh"

hostname "$node"
mounts_make || exit 1
[[ $node != n1 ]] || control_plane_start
worker_start
pod_network_start

trap 'exit 0' TERM INT
while :; do
  wait -n 2>/dev/null || sleep 1
done
