# shellcheck shell=bash disable=SC2154 # node and home are init.sh's
# Sourced by init.sh: the pods' network. Cilium enforces NetworkPolicy; ptp and bridge know nothing of it, as in many
# clusters that people run.

pod_network_start() {
  if [[ $CNI == cilium ]]; then
    component cilium start_cilium
  else
    plain_network &
  fi
}

# pod_cidr prints the node's share of the pods' addresses, once the controller manager has given it one.
pod_cidr() {
  local cidr=''
  until [[ -n $cidr ]]; do
    cidr=$(kubectl --kubeconfig="$STATE/kubeconfig/admin-inside" get node "$node" \
      -o jsonpath='{.spec.podCIDR}' 2>/dev/null)
    [[ -n $cidr ]] || sleep 0.2
  done
  echo "$cidr"
}

# plain_network writes the configuration of a network without policies, and routes to the other nodes' pods.
plain_network() {
  local interface cidr
  interface='"type": "ptp"'
  [[ $CNI == ptp ]] || interface='"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true'
  cidr=$(pod_cidr)
  cat >/etc/cni/net.d/10-pods.conflist <<JSON
{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {
      $interface,
      "mtu": 1500,
      "ipMasq": false,
      "ipam": {
        "type": "host-local",
        "ranges": [[{"subnet": "$cidr"}]],
        "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}, "snat": true}
  ]
}
JSON
  plain_routes
}

# plain_routes: the way to the pods of the other nodes.
plain_routes() {
  local other cidr
  for other in $(node_names "$NODES"); do
    [[ $other != "$node" ]] || continue
    cidr=$(node=$other pod_cidr)
    ip route replace "$cidr" via "$(node_ip "$other")"
  done
}

# cgroup2_folder prints where cgroup v2 is; with v1 alone the agent mounts it where told.
cgroup2_folder() {
  local folder
  folder=$(awk '$3 == "cgroup2" {print $2}' /proc/mounts | tail -1)
  echo "${folder:-/run/cilium/cgroup}"
}

# start_cilium: the agent alone, on the node itself. Its operator is not needed: the custom resources are applied
# here, and Kubernetes hands out the pods' addresses. Left to its defaults the agent acts on a changed namespace label
# after a random time of up to 30 s and a grace period of 5 s, which spares large clusters and makes small ones wait.
start_cilium() {
  export KUBECONFIG=$STATE/kubeconfig/admin-inside K8S_NODE_NAME=$node
  until_api_ready
  kubectl apply --server-side -f "$CILIUM_FILES/crds" || return
  pod_cidr >/dev/null
  mkdir -p /run/cilium
  rm -rf /var/lib/cilium/bpf
  cp -r "$CILIUM_FILES/bpf" /var/lib/cilium/bpf
  cilium-agent \
    --k8s-kubeconfig-path="$STATE/kubeconfig/cilium" \
    --enable-k8s \
    --cluster-name=default \
    --cluster-id=0 \
    --ipam=kubernetes \
    --enable-ipv4=true \
    --enable-ipv6=false \
    --enable-ipv4-masquerade=false \
    --routing-mode=native \
    --ipv4-native-routing-cidr="$POD_CIDR" \
    --auto-direct-node-routes=true \
    --devices=eth0 \
    --datapath-mode=veth \
    --kube-proxy-replacement=false \
    --enable-policy=default \
    --policy-cidr-match-mode=nodes \
    --identity-change-grace-period=200ms \
    --identity-max-jitter=0s \
    --enable-l7-proxy=false \
    --enable-envoy-config=false \
    --enable-hubble=false \
    --enable-health-checking=false \
    --enable-endpoint-health-checking=false \
    --bpf-root=/sys/fs/bpf \
    --cgroup-root="$(cgroup2_folder)" \
    --lib-dir=/var/lib/cilium \
    --state-dir=/run/cilium \
    --socket-path=/run/cilium/cilium.sock \
    --cni-exclusive=false \
    --write-cni-conf-when-ready=/etc/cni/net.d/05-cilium.conflist
}
