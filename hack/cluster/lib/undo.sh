# shellcheck shell=bash
# Sourced: what cluster-up adds to the host is noted before it is done, and undone by cluster-down, or by the next
# cluster-up when the one before was killed.

UNDO=$STATE/undo

undo_note() {
  echo "$*" >>"$UNDO"
}

# make_directory PATH makes a folder that a node needs as a mount point, with its parents.
make_directory() {
  local path=$1
  [[ -d $path ]] && return
  make_directory "$(dirname "$path")"
  undo_note "directory $path"
  mkdir "$path"
}

# undo_all undoes what was noted, last first. What others use meanwhile stays, and what is gone already is well.
undo_all() {
  local what argument
  [[ -f $UNDO ]] || return 0
  while read -r what argument; do
    case $what in
      directory) rmdir "$argument" 2>/dev/null || true ;;
      netns-folder)
        [[ -n $(ip netns list) ]] || { umount "$argument" && rmdir "$argument"; } 2>/dev/null || true
        ;;
      controller) echo "-$argument" >/sys/fs/cgroup/cgroup.subtree_control 2>/dev/null || true ;;
    esac
  done < <(tac "$UNDO")
  rm -f "$UNDO"
}

# clear_cluster removes everything that a cluster of ours has or may have left on this machine, its state included.
clear_cluster() {
  local namespace left
  cgroup_kill || die "these processes do not end: $(cgroup_pids | paste -sd' ')"
  wait_until 10 cgroup_remove || die "cannot remove the cgroups $PREFIX-n*"
  for namespace in $(ip netns list | awk -v p="$PREFIX-" 'index($1, p) == 1 {print $1}'); do
    ip netns delete "$namespace"
  done
  undo_all
  left=$(awk -v s="$STATE/" 'index($5, s) == 1 {print $5}' /proc/self/mountinfo | tac)
  # shellcheck disable=SC2086 # a list of mount points
  [[ -z $left ]] || umount $left
  rm -rf "$STATE"
  rm -f "$OWNER"
}
