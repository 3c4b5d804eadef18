# shellcheck shell=bash
# Sourced: the nodes' network. A bridge in a network namespace of its own joins the nodes; it leads nowhere, and the
# host gets no address, route or packet filter rule, so that no packet to a pod or node can take another way.

LAN_NAMESPACE=$PREFIX-lan

# network_make_lan makes the bridge.
network_make_lan() {
  if ! mountpoint -q /run/netns; then
    undo_note "netns-folder /run/netns"
  fi
  ip netns add "$LAN_NAMESPACE"
  ip -n "$LAN_NAMESPACE" link set lo up
  ip -n "$LAN_NAMESPACE" link add lan0 type bridge
  ip -n "$LAN_NAMESPACE" addr add "$LAN.1/24" dev lan0
  ip -n "$LAN_NAMESPACE" link set lan0 up
}

# network_make_node NODE makes the node's network namespace and joins it to the bridge.
network_make_node() {
  local node=$1 namespace=$PREFIX-$1
  ip netns add "$namespace"
  ip -n "$namespace" link set lo up
  ip -n "$namespace" link add eth0 type veth peer name "$node" netns "$LAN_NAMESPACE"
  ip -n "$LAN_NAMESPACE" link set "$node" master lan0 up
  ip -n "$namespace" addr add "$(node_ip "$node")/24" dev eth0
  ip -n "$namespace" link set eth0 up
  ip -n "$namespace" route add default via "$LAN.1"
}

# relay_start joins 127.0.0.1:API_PORT of the host with the API server in the first node, by way of a unix socket. It
# stands in the first node's cgroup, so that it ends with the cluster.
relay_start() {
  local child=''
  cgroup_v2 && child=init
  (
    exec 8>&-
    cgroup_enter n1 $child
    exec setsid "$TOOLS/socat" "TCP-LISTEN:$API_PORT,bind=127.0.0.1,reuseaddr,fork" "UNIX-CONNECT:$STATE/api.sock"
  ) >"$STATE/relay.log" 2>&1 </dev/null &
}

# port_taken: whether something listens on 127.0.0.1:API_PORT.
port_taken() {
  (exec 3<>"/dev/tcp/127.0.0.1/$API_PORT") 2>/dev/null
}
