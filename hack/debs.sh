#!/bin/bash
# debs.sh PACKAGE...: unpacks distribution packages, and the libraries this machine lacks for them, beside the system.
#
# Nothing is installed: apt only downloads (and checks signatures), dpkg only unpacks under the cache. So a package
# can be used here without displacing what the machine runs. Prints the folder ROOT that they were unpacked to.
# ROOT/wrapped holds a wrapper for every program of the named packages, fit for PATH; a program that is called like its
# package has one in $CACHE/bin as well (for example $CACHE/bin/memcached).
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

(($# > 0)) || die "usage: debs.sh PACKAGE..."
have apt-get || die "apt-get is missing: the development tools need Debian or Ubuntu"

name=$(printf '%s\n' "$@" | sort -u | paste -sd+)
root=$CACHE/debs/$name
archives=$CACHE/debs/.archives/$name

# download PACKAGE...: the packages themselves even if installed, and those they depend on that are not installed.
download() {
  apt-get install --download-only --reinstall --no-install-recommends -y -qq \
    -o Debug::NoLocking=1 -o "Dir::Cache::archives=$archives" "$@" >"$archives.log" 2>&1 && return
  # apt found no plan, for instance because something held conflicts: take the named packages alone.
  (cd "$archives" && apt-get download -qq "$@" >>"$archives.log" 2>&1)
}

# library_path prints the folders of the unpacked tree that hold shared libraries.
library_path() {
  find "$root" -name '*.so*' -printf '%h\n' |
    sed -n -E '/\/lib(\/[^/]*-linux-gnu[^/]*|\/llvm-[0-9]+\/lib)?$/p' | sort -u | paste -sd:
}

# settings prints the environment that programs of the tree need to find their own parts, as shell words.
settings() {
  local libraries extensions
  libraries=$(library_path)
  extensions=$(find "$root/usr/lib" -maxdepth 2 -type d -name xtables -print -quit 2>/dev/null || true)
  [[ -z $libraries ]] || echo "LD_LIBRARY_PATH=\"$libraries\${LD_LIBRARY_PATH:+:\$LD_LIBRARY_PATH}\""
  [[ -z $extensions ]] || echo "XTABLES_LIBDIR=\"$extensions\""
}

# wrap PROGRAM SETTINGS: a way to call the unpacked PROGRAM, plain where it needs no settings.
wrap() {
  local program=$1 settings=$2 target=$root/wrapped/${1##*/}
  if [[ -z $settings ]]; then
    ln -s "$program" "$target"
    return
  fi
  printf '#!/bin/sh\n%s exec "%s" "$@"\n' "${settings//$'\n'/ }" "$program" >"$target"
  chmod +x "$target"
}

# programs prints the paths of the named packages' own programs inside the tree, not those of their dependencies.
programs() {
  local package deb
  for package in "$@"; do
    for deb in "$archives/${package}"_*.deb; do
      dpkg-deb --fsys-tarfile "$deb" | tar -t | sed -n -E 's#^\.(/(usr/)?s?bin/[^/]+)$#\1#p'
    done
  done
}

exec 9>"$CACHE/debs.lock"
flock -w 600 9 || die "another debs.sh has been at work for 10 minutes (lock $CACHE/debs.lock)"

if [[ ! -f $root/.complete ]]; then
  rm -rf "$root" "$archives"
  mkdir -p "$root" "$archives/partial"
  if ! download "$@"; then
    say "apt-get update, because $* could not be downloaded at once"
    apt-get update -qq -o DPkg::Lock::Timeout=120 >>"$archives.log" 2>&1 || true
    download "$@" || die "cannot download $*; see $archives.log"
  fi
  for deb in "$archives"/*.deb; do
    dpkg-deb -x "$deb" "$root"
  done
  mkdir "$root/wrapped"
  environment=$(settings)
  programs "$@" | while read -r program; do
    wrap "$root$program" "$environment"
  done
  for package in "$@"; do
    [[ ! -e $root/wrapped/$package ]] || ln -sfn "$root/wrapped/$package" "$BIN/$package"
  done
  rm -rf "$archives"
  touch "$root/.complete"
fi
echo "$root"
