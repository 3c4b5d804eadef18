# shellcheck shell=bash
# Sourced: the cgroups that hold every process of a node. What runs in a cgroup called memkeep-n1 is the cluster's, so
# no pid files are needed, and no process of anybody else can be taken for ours.
#
# With cgroup v1 each hierarchy gets a folder, and the node's processes stand in it. With v2 a folder that has children
# with controllers may hold no processes itself: the node's own stand in the child "init".

cgroup_v2() {
  [[ $(stat -f -c %T /sys/fs/cgroup) == cgroup2fs ]]
}

# cgroup_roots prints the mount points of all hierarchies.
cgroup_roots() {
  if cgroup_v2; then echo /sys/fs/cgroup; else awk '$3 ~ /^cgroup2?$/ {print $2}' /proc/mounts; fi
}

# cgroup_make NODE makes the node's cgroups.
cgroup_make() {
  local root controller
  if cgroup_v2; then
    for controller in cpu cpuset io memory pids; do
      grep -qw "$controller" /sys/fs/cgroup/cgroup.controllers || continue
      grep -qw "$controller" /sys/fs/cgroup/cgroup.subtree_control && continue
      undo_note "controller $controller"
      echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control ||
        die "the root cgroup cannot hand down $controller: inside a container, move its processes to a child first"
    done
    mkdir -p "/sys/fs/cgroup/$PREFIX-$1/init"
    return
  fi
  for root in $(cgroup_roots); do
    mkdir -p "$root/$PREFIX-$1"
    [[ -e $root/cpuset.cpus ]] || continue
    cat "$root/cpuset.cpus" >"$root/$PREFIX-$1/cpuset.cpus"
    cat "$root/cpuset.mems" >"$root/$PREFIX-$1/cpuset.mems"
  done
}

# cgroup_enter NODE [CHILD] moves the calling shell into the node's cgroups.
cgroup_enter() {
  local root
  for root in $(cgroup_roots); do
    echo "$BASHPID" >"$root/$PREFIX-$1${2:+/$2}/cgroup.procs"
  done
}

# cgroup_folders prints the cgroups of all nodes, one for each node and hierarchy.
cgroup_folders() {
  local root
  for root in $(cgroup_roots); do
    compgen -G "$root/$PREFIX-n*" || true
  done
}

# cgroup_pids prints the pids of all processes of all nodes, pods included.
cgroup_pids() {
  local folder
  for folder in $(cgroup_folders); do
    find "$folder" -name cgroup.procs -exec cat {} + 2>/dev/null
  done | sort -nu
}

# node_pid NODE prints the pid, on the host, of the node's pid 1, or nothing. A node's processes have two pids, that on
# the host and that in the node; those of its containers have three.
node_pid() {
  local group root
  root=$(cgroup_roots | tail -1)
  group=$root/$PREFIX-$1
  [[ -d $group/init ]] && group=$group/init
  [[ -r $group/cgroup.procs ]] || return 0
  local pid
  while read -r pid; do
    awk -v pid="$pid" '$1 == "NSpid:" && $2 == pid && NF == 3 && $3 == 1 {print pid}' "/proc/$pid/status" 2>/dev/null
  done <"$group/cgroup.procs" | head -1
}

# cgroup_kill ends every process of every node; fails if some outlive it by 10 seconds.
cgroup_kill() {
  local end=$((SECONDS + 10)) pids
  while pids=$(cgroup_pids) && [[ -n $pids ]]; do
    ((SECONDS <= end)) || return 1
    # shellcheck disable=SC2086 # a list of pids
    kill -KILL $pids 2>/dev/null
    sleep 0.05
  done
}

# cgroup_remove removes the nodes' cgroups; fails when something is still in them.
cgroup_remove() {
  local folder
  for folder in $(cgroup_folders); do
    find "$folder" -depth -type d -exec rmdir {} + 2>/dev/null
  done
  [[ -z $(cgroup_folders) ]]
}
