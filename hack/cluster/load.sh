#!/bin/bash
# load.sh ARCHIVE...: brings images into the cluster, so that pods can run them though no registry has them.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"

(($# > 0)) || die "usage: load.sh ARCHIVE..."
for archive in "$@"; do
  [[ -r $archive ]] || die "cannot read $archive: run make images"
done
case $CLUSTER in
  kind | current) exec "$CLUSTER_DIR/$CLUSTER.sh" load "$@" ;;
esac
need_root
is_up || die "no cluster is up: run make cluster-up"

# reference ARCHIVE prints the reference of the image in it.
reference() {
  tar -xOf "$1" manifest.json | sed -E 's/.*"RepoTags":\["([^"]+)".*/\1/'
}

# present NODE REFERENCE: whether the node has the image. Only a tag that is made from the content tells.
present() {
  [[ $2 =~ -[0-9a-f]{12}$ ]] && [[ -n $(in_node "$1" ctr --namespace k8s.io images list -q "name==$2") ]]
}

for node in $(node_names "$(recorded NODES)"); do
  for archive in "$@"; do
    image=$(reference "$archive")
    if present "$node" "$image"; then
      say "$node has $image"
      continue
    fi
    # By standard input, because the node does not see every folder of the host.
    in_node "$node" ctr --namespace k8s.io images import - <"$archive" >/dev/null ||
      die "cannot load $archive into $node"
    say "$node took $image"
  done
done
