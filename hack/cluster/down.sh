#!/bin/bash
# down.sh: removes the cluster and everything it added to this machine. What was built stays in the cache.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"
# shellcheck source=lib/undo.sh
. "$CLUSTER_DIR/lib/undo.sh"

case $CLUSTER in
  kind | current) exec "$CLUSTER_DIR/$CLUSTER.sh" down ;;
esac
need_root
have ip || { say "no cluster is up" && exit 0; }
lock
owner=$(cat "$OWNER" 2>/dev/null || true)
[[ -z $owner || $owner == "$STATE" ]] ||
  die "the cluster that is up is another cache's: end it with MEMKEEP_CACHE=${owner%/cluster} make cluster-down"
clear_cluster
say "down"
