#!/bin/bash
# selftest.sh: shows that cluster-up and cluster-down leave the machine as it was, also when cluster-up is killed on its
# way. Compares links, network namespaces, packet filter rules, mounts, cgroups, folders, kernel settings, the
# relay's port and processes before and after. Ends a cluster that is up.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"

need_root
[[ $CLUSTER == dev ]] || die "the self test is for CLUSTER=dev"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# kernel_settings prints what does not change by itself.
kernel_settings() {
  local volatile='fs\.(dentry-state|file-nr|inode-(nr|state)|quota|aio-nr)|net\.netfilter\.nf_conntrack_count'
  volatile+='|kernel\.(random|ns_last_pid|pty\.nr|perf_event_max_sample_rate|perf_cpu_time)'
  sysctl -a 2>/dev/null | grep -vE "^($volatile)"
}

mapfile -t folders < <(node_folders)
folders+=(/etc/cni /opt/cni /run/{netns,containerd,cilium} "$OWNER" "$STATE")

# snapshot NAME writes what the machine looks like to $work/NAME.
snapshot() {
  {
    echo "== links" && ip -o link | sed -E 's/^[0-9]+: //; s/ qlen [0-9]+//'
    echo "== addresses" && ip -o addr | awk '{print $2, $3, $4}'
    echo "== routes" && ip route show table all
    echo "== network namespaces" && ip netns list
    echo "== nft" && "$TOOLS/nft" list ruleset
    echo "== iptables" && "$TOOLS/iptables-save" | sed '/^#/d'
    echo "== mounts" && awk '{print $5, $9, $10}' /proc/self/mountinfo | sort
    echo "== cgroups" && find /sys/fs/cgroup -type d | grep -vE '\.(scope|service)($|/)' | sort
    echo "== cgroup controllers" && { cat /sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true; }
    echo "== folders" && { ls -d "${folders[@]}" 2>/dev/null || true; }
    echo "== kernel settings" && kernel_settings
    echo "== listening" && { grep -ci ":$(printf %04X "$API_PORT") 00000000:0000 0A" /proc/net/tcp || true; }
    echo "== processes" && { pgrep -fa "cluster/node/|cilium-agent|kubelet|containerd|$TOOLS/" |
      cut -d' ' -f2- | sort || true; }
  } >"$work/$1"
}

# same BEFORE AFTER: fails when the snapshots differ.
same() {
  diff -u "$work/$1" "$work/$2" >&2 || die "the machine is not as it was (above: $1 against $2)"
}

# kill_up SECONDS: starts cluster-up and kills it on its way, as a lost terminal or an impatient user would.
kill_up() {
  "$CLUSTER_DIR/up.sh" >"$work/killed.log" 2>&1 &
  local up=$!
  sleep "$1"
  kill -KILL $up 2>/dev/null || true
  wait $up 2>/dev/null || true
}

"$CLUSTER_DIR/build.sh"
"$CLUSTER_DIR/down.sh"
snapshot before

say "up, up again, down"
"$CLUSTER_DIR/up.sh"
"$CLUSTER_DIR/up.sh"
"$CLUSTER_DIR/status.sh" >/dev/null || die "the cluster is not healthy"
snapshot up
! cmp -s "$work/before" "$work/up" || die "the snapshots do not see a cluster that is up"
"$CLUSTER_DIR/down.sh"
snapshot down
same before down

for moment in 0.7 1.5 3 7 12; do
  say "up killed after $moment seconds, down"
  kill_up $moment
  "$CLUSTER_DIR/down.sh"
  snapshot killed
  same before killed
done

say "up killed, up again, down"
kill_up 4
"$CLUSTER_DIR/up.sh"
"$CLUSTER_DIR/status.sh" >/dev/null || die "the cluster made over a killed one's leftovers is not healthy"
"$CLUSTER_DIR/down.sh"
snapshot again
same before again

say "down twice"
"$CLUSTER_DIR/down.sh"
snapshot twice
same before twice
say "the machine is as it was before"
