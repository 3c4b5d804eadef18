#!/bin/bash
# source.sh PACKAGE: unpacks the source package of a distribution package beside the system, and prints its folder.
#
# Nothing is installed and the system's apt keeps no trace: lists, state and archives live under the cache. apt checks
# the signature of the release and the digests down to the tarball; what does not check out is not unpacked.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

(($# == 1)) || die "usage: source.sh PACKAGE"
have apt-get || die "apt-get is missing: the development tools need Debian or Ubuntu"
have dpkg-source || die "dpkg-source is missing: install dpkg-dev"

package=$1
apt=$CACHE/apt-source
root=$CACHE/sources/$package

# options prints apt's options: the system's keys and proxies, but lists and state of our own.
options() {
  printf '%s\n' \
    -o "Dir::State=$apt/state" -o "Dir::State::Status=$apt/status" -o "Dir::Cache=$apt/cache" \
    -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/none" \
    -o APT::Sandbox::User=root -o Acquire::Languages=none -o Acquire::AllowInsecureRepositories=false
}

# sources writes what apt may fetch sources from: the distribution's own archives that the system trusts already.
sources() {
  for line in /etc/apt/sources.list.d/*.sources; do
    [[ -f $line ]] || continue
    awk 'BEGIN { RS = ""; FS = "\n" } { uri = suite = key = comp = ""
      for (i = 1; i <= NF; i++) {
        if ($i ~ /^URIs:/) uri = substr($i, 7)
        if ($i ~ /^Suites:/) suite = substr($i, 9)
        if ($i ~ /^Components:/) comp = substr($i, 13)
        if ($i ~ /^Signed-By:/) key = substr($i, 12)
      }
      gsub(/^ +| +$/, "", uri); gsub(/^ +| +$/, "", key)
      if (comp !~ /main/ || key !~ /archive-keyring/) next
      n = split(suite, s, " ")
      for (i = 1; i <= n; i++) print "deb-src [signed-by=" key "] " uri " " s[i] " main"
    }' "$line"
  done
  [[ ! -f /etc/apt/sources.list ]] ||
    sed -n -E 's/^deb (\[[^]]*\] )?(.*) main.*/deb-src \1\2 main/p' /etc/apt/sources.list
}

exec 9>"$CACHE/source.lock"
flock -w 600 9 || die "another source.sh has been at work for 10 minutes (lock $CACHE/source.lock)"

if [[ ! -f $root/.complete ]]; then
  rm -rf "$root"
  mkdir -p "$root" "$apt/state/lists/partial" "$apt/cache/archives/partial" "$apt/none"
  touch "$apt/status"
  sources | sort -u >"$apt/sources.list"
  [[ -s $apt/sources.list ]] || die "the system names no archive of its distribution to take sources from"
  mapfile -t opts < <(options)
  apt-get "${opts[@]}" update -qq >"$apt/log" 2>&1 || die "cannot read the lists of sources; see $apt/log"
  # apt says so and stops where the release's signature or a digest is wrong; unsigned sources are not asked for.
  (cd "$root" && apt-get "${opts[@]}" source -qq --only-source "$package" >>"$apt/log" 2>&1) ||
    die "cannot download the source of $package; see $apt/log"
  folder=$(find "$root" -mindepth 1 -maxdepth 1 -type d -print -quit)
  [[ -n $folder ]] || die "the source of $package was not unpacked; see $apt/log"
  ln -sfn "$(basename "$folder")" "$root/tree"
  touch "$root/.complete"
fi
echo "$root/tree"
