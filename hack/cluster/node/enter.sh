#!/bin/bash
# enter.sh NODE: becomes the node's pid 1, in cgroups and namespaces of its own. Called by up.sh on the host.
#
# The cgroup namespace comes first, while the shell stands in the node's own cgroup, so that this is what the node sees
# as the root of all cgroups; with cgroup v2 the shell then moves to a child, which leaves the root free of processes.
set -euo pipefail
# shellcheck source=../lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib/cluster.sh"
node=$1

cgroup_enter "$node"
if [[ ${2:-} != in-cgroup-namespace ]]; then
  exec unshare --cgroup -- "${BASH_SOURCE[0]}" "$node" in-cgroup-namespace
fi
! cgroup_v2 || cgroup_enter "$node" init
exec nsenter --net="/run/netns/$PREFIX-$node" -- \
  unshare --mount --pid --uts --ipc --fork --kill-child --mount-proc -- "$CLUSTER_DIR/node/init.sh" "$node"
