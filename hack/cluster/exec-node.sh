#!/bin/bash
# exec-node.sh NODE CMD...: runs CMD inside a node of the cluster, as its root.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"

(($# >= 2)) || die "usage: exec-node.sh NODE CMD..."
case $CLUSTER in
  dev) need_root && in_node "$@" ;;
  kind) exec docker exec -i "$@" ;;
  current) die "CLUSTER=current: the nodes of your own cluster are not touched" ;;
esac
