# shellcheck shell=bash disable=SC2154 # node and home are init.sh's
# Sourced by init.sh: the node's view of the file system. It sees the host's files, but where Kubernetes writes it has
# places of its own, and the host's kernel settings are out of its reach.

# mounts_cgroup_v1 HIERARCHIES LINKS: each of the host's hierarchies again, seen from the node's cgroup namespace.
mounts_cgroup_v1() {
  local hierarchies=$1 links=$2 point type options
  mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
  while read -r point type options; do
    mkdir -p "$point"
    if [[ $type == cgroup2 ]]; then
      mount -t cgroup2 cgroup2 "$point"
    else
      options=$(tr , '\n' <<<"$options" | grep -vE '^(rw|ro|nosuid|nodev|noexec|relatime|release_agent=.*|xattr)$' |
        paste -sd,)
      [[ $options == *name=* ]] && options=none,$options
      mount -t cgroup -o "$options" cgroup "$point"
    fi
  done <<<"$hierarchies"
  while read -r point options; do
    [[ -z $point ]] || ln -s "$options" "/sys/fs/cgroup/$point"
  done <<<"$links"
}

# mounts_cgroup_v2: the node's own cgroup as root, with every controller handed down.
mounts_cgroup_v2() {
  local controller
  mount -t cgroup2 cgroup2 /sys/fs/cgroup
  tr ' ' '\n' </sys/fs/cgroup/cgroup.controllers | while read -r controller; do
    echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control
  done
}

# mounts_kernel_settings: kernel settings that are not of the node's namespaces are the host's, and read-only here. The
# kubelet insists on some: it finds files with the values it wants.
mounts_kernel_settings() {
  local folder setting file
  for folder in kernel vm fs; do
    mount --bind "/proc/sys/$folder" "/proc/sys/$folder"
  done
  for setting in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 \
    kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
    file=$home/kernel-settings/${setting%=*}
    mkdir -p "$(dirname "$file")"
    echo "${setting#*=}" >"$file"
    mount --bind "$file" "/proc/sys/${setting%=*}"
  done
  for folder in kernel vm fs; do
    mount -o remount,ro,bind "/proc/sys/$folder"
  done
  sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0
  # Without the br_netfilter module there is no such setting; only CNI=bridge wants it.
  sysctl -qw net.bridge.bridge-nf-call-iptables=1 2>/dev/null
}

# mounts_make mounts everything.
mounts_make() {
  local folder version=1 hierarchies links
  ! cgroup_v2 || version=2
  hierarchies=$(awk '$3 ~ /^cgroup2?$/ {print $2, $3, $4}' /proc/mounts)
  links=$(find /sys/fs/cgroup -maxdepth 1 -type l -printf '%f %l\n')

  mount --make-rprivate / || return
  mount -t sysfs sysfs /sys || return
  mount -t bpf bpf /sys/fs/bpf || return
  if ((version == 2)); then mounts_cgroup_v2; else mounts_cgroup_v1 "$hierarchies" "$links"; fi || return
  mounts_kernel_settings
  mount -t tmpfs -o mode=755 tmpfs /run || return
  mkdir -p /run/lock /run/netns
  : >/run/resolv.conf
  while read -r folder; do
    mkdir -p "$home/files$folder"
    mount --bind "$home/files$folder" "$folder" || return
  done < <(node_folders)
  mount --make-rshared /
  cp "$CNI_PLUGINS"/* /opt/cni/bin/ && { [[ $CNI != cilium ]] || cp "$BIN/cilium-cni" /opt/cni/bin/; }
}
