#!/bin/bash
# kubeconfig.sh: prints the path of the cluster's kubeconfig.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"

case $CLUSTER in
  dev) path=$KUBECONFIG_DEV ;;
  kind) path=$KUBECONFIG_KIND ;;
  current) path=${KUBECONFIG:-$HOME/.kube/config} ;;
esac
[[ $path == *:* || -e $path ]] || echo "$path does not exist: make cluster-up CLUSTER=$CLUSTER" >&2
echo "$path"
