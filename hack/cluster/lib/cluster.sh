# shellcheck shell=bash
# Sourced by the cluster's scripts: settings, and what several of them need to know of a running cluster.

CLUSTER_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# shellcheck source=../../lib/common.sh
. "$CLUSTER_DIR/../lib/common.sh"
# shellcheck source=../settings.env
. "$CLUSTER_DIR/settings.env"
# shellcheck source=cgroups.sh
. "$CLUSTER_DIR/lib/cgroups.sh"

case $CLUSTER in dev | kind | current) ;; *) die "CLUSTER=$CLUSTER: write dev, kind or current" ;; esac
case $NODES in 1 | 2) ;; *) die "NODES=$NODES: write 1 or 2" ;; esac
case $CNI in cilium | ptp | bridge) ;; *) die "CNI=$CNI: write cilium, ptp or bridge" ;; esac

node_ip() {
  echo "$LAN.1${1#n}"
}

# node_names COUNT prints n1, n2, ...
node_names() {
  local i
  for ((i = 1; i <= $1; i++)); do echo "n$i"; done
}

# node_folders prints where Kubernetes writes; every node has its own.
node_folders() {
  printf '%s\n' /etc/cni/net.d /opt/cni/bin /var/lib/{cilium,cni,containerd,kubelet} /var/log/{containers,pods}
}

# recorded NAME: a setting of the cluster that is up, as it was made.
recorded() {
  sed -n "s/^$1=//p" "$STATE/settings" 2>/dev/null
}

# kube ARGS: kubectl as the cluster's administrator. It does not hold the lock: it may outlive a killed script.
kube() {
  KUBECONFIG=$KUBECONFIG_DEV "$BIN/kubectl" "$@" 8>&-
}

# is_up: whether the first node's pid 1 lives.
is_up() {
  [[ -n $(node_pid n1) ]]
}

# api_ready: whether the API server answers to the administrator.
api_ready() {
  [[ -s $KUBECONFIG_DEV ]] && kube get --raw /readyz --request-timeout=5s >/dev/null 2>&1
}

# in_node NODE CMD...: runs CMD inside the node's namespaces.
in_node() {
  local node=$1 pid
  shift
  pid=$(node_pid "$node")
  [[ -n $pid ]] || die "node $node is not up"
  PATH=$TOOLS:$BIN:$PATH nsenter --target "$pid" --mount --uts --ipc --net --pid --cgroup --root --wd -- "$@"
}

# wait_until SECONDS CMD...: polls CMD until it succeeds; fails when the time is over.
wait_until() {
  local end=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.2
  done
}

# lock: one of up and down at a time; the lock ends with the script, however it ends.
lock() {
  exec 8>"$LOCK"
  flock -n 8 || { say "waiting for another cluster-up or cluster-down"; flock -w 600 8; } ||
    die "another cluster-up or cluster-down has been at work for 10 minutes (lock $LOCK)"
}

need_root() {
  ((EUID == 0)) || die "the development cluster is made of namespaces and cgroups: run as root (sudo -E make ...)"
}
