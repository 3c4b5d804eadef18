#!/bin/bash
# status.sh [-o json]: what is up, whether each component is healthy, and what it costs. Fails when something is wrong.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"

format=text
case "$*" in
  '') ;;
  '-o json') format=json ;;
  *) die "usage: status.sh [-o json]" ;;
esac
case $CLUSTER in
  kind | current) exec "$CLUSTER_DIR/$CLUSTER.sh" status ;;
esac
need_root

# health_url COMPONENT prints where the component tells its health inside the node.
health_url() {
  case $1 in
    etcd) echo http://127.0.0.1:2379/health ;;
    apiserver) echo https://127.0.0.1:6443/readyz ;;
    controller-manager) echo https://127.0.0.1:10257/healthz ;;
    scheduler) echo https://127.0.0.1:10259/healthz ;;
    kubelet) echo http://127.0.0.1:10248/healthz ;;
    kube-proxy) echo http://127.0.0.1:10256/healthz ;;
    cilium) echo http://127.0.0.1:9879/healthz ;;
  esac
}

# healthy NODE COMPONENT
healthy() {
  local url
  if [[ $2 == containerd ]]; then
    in_node "$1" timeout 5 ctr version >/dev/null 2>&1
    return
  fi
  url=$(health_url "$2")
  # kubectl is at hand in every node, and can ask any server.
  in_node "$1" env KUBECONFIG=/dev/null kubectl --server "${url%/*}" --insecure-skip-tls-verify --request-timeout=5s \
    --client-certificate "$STATE/pki/admin-inside.crt" --client-key "$STATE/pki/admin-inside.key" \
    get --raw "/${url##*/}" >/dev/null 2>&1
}

# components NODE prints the node's components.
components() {
  [[ $1 != n1 ]] || printf '%s\n' etcd apiserver controller-manager scheduler
  printf '%s\n' containerd kubelet kube-proxy
  [[ $cni != cilium ]] || echo cilium
}

# memory KIND prints the MiB that all processes of the cluster, pods included, hold: "anonymous" or "cached".
memory() {
  local field folder
  for folder in $(cgroup_folders); do
    [[ -r $folder/memory.stat ]] || continue
    case $1 in
      anonymous) field='^(total_rss|anon)$' ;;
      cached) field='^(total_cache|file)$' ;;
    esac
    awk -v field="$field" '$1 ~ field {print $2}' "$folder/memory.stat"
  done | awk '{sum += $1} END {printf "%d", sum / 1048576}'
}

# collect fills the arrays that the printers read: one line for each component and node.
collect() {
  local node component state restarts
  for node in $(node_names "$nodes"); do
    for component in $(components "$node"); do
      state=healthy
      healthy "$node" "$component" || { state=unhealthy && all_well=false; }
      restarts=$(cat "$STATE/$node/restarts/$component" 2>/dev/null || echo 0)
      component_lines+=("$node $component $state $restarts")
    done
  done
  kubelet_lines=$(kube get nodes --no-headers -o custom-columns="$columns" 2>/dev/null) || all_well=false
  if kube -n kube-system rollout status deployment/coredns --timeout=1s >/dev/null 2>&1; then
    component_lines+=("- coredns healthy 0")
  else
    component_lines+=("- coredns unhealthy 0")
    all_well=false
  fi
}

print_text() {
  local line
  echo "cluster     dev, NODES=$nodes CNI=$cni"
  if [[ $enforces == true ]]; then
    echo "policies    NetworkPolicy is enforced"
  else
    echo "policies    NetworkPolicy is NOT enforced by CNI=$cni: every connection gets through"
  fi
  echo "kubeconfig  $KUBECONFIG_DEV"
  echo "logs        $STATE/n*/log"
  echo "memory      $anonymous MiB in all processes, pods included, and $cached MiB of cached files"
  echo
  printf '%-6s %-7s %-10s %-14s %s\n' NODE READY KUBERNETES ADDRESS RUNTIME
  # shellcheck disable=SC2086 # columns
  while read -r line; do [[ -z $line ]] || printf '%-6s %-7s %-10s %-14s %s\n' $line; done <<<"$kubelet_lines"
  echo
  printf '%-6s %-20s %-10s %s\n' NODE COMPONENT HEALTH RESTARTS
  # shellcheck disable=SC2086 # columns
  for line in "${component_lines[@]}"; do printf '%-6s %-20s %-10s %s\n' $line; done
}

print_json() {
  local line words items=() hosts=()
  while read -r -a words; do
    ((${#words[@]} > 0)) || continue
    hosts+=("$(printf '{"name":"%s","ready":"%s","kubernetes":"%s","address":"%s","runtime":"%s"}' "${words[@]}")")
  done <<<"$kubelet_lines"
  for line in "${component_lines[@]}"; do
    read -r -a words <<<"$line"
    items+=("$(printf '{"node":"%s","component":"%s","health":"%s","restarts":%d}' "${words[@]}")")
  done
  local IFS=,
  printf '{"up":true,"healthy":%s,"nodes":[%s],"cni":"%s","enforcesNetworkPolicy":%s,"kubeconfig":"%s",' \
    "$all_well" "${hosts[*]}" "$cni" "$enforces" "$KUBECONFIG_DEV"
  printf '"memoryMiB":{"anonymous":%d,"cached":%d},"components":[%s]}\n' \
    "$anonymous" "$cached" "${items[*]}"
}

if ! is_up; then
  [[ $format == text ]] || echo '{"up":false,"healthy":false}'
  die "no cluster is up: run make cluster-up"
fi
nodes=$(recorded NODES)
cni=$(recorded CNI)
enforces=false
[[ $cni != cilium ]] || enforces=true
all_well=true
component_lines=()
columns='N:.metadata.name,R:.status.conditions[?(@.type=="Ready")].status,V:.status.nodeInfo.kubeletVersion'
columns+=',A:.status.addresses[?(@.type=="InternalIP")].address,C:.status.nodeInfo.containerRuntimeVersion'
collect
anonymous=$(memory anonymous)
cached=$(memory cached)
"print_$format"
$all_well
