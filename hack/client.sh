#!/bin/bash
# client.sh LANGUAGE SCRIPT ARGUMENT...: runs a script with the memcached clients of its language at hand.
#
# LANGUAGE is python, perl, ruby, php or node. Clients and interpreters are unpacked beside the system, and npm's are
# put into the cache: nothing is installed. Exit code 77 means that they could not be had.
set -euo pipefail
# shellcheck source=lib/common.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/common.sh"

(($# >= 2)) || die "usage: client.sh python|perl|ruby|php|node SCRIPT ARGUMENT..."
language=$1
shift

# unpack PACKAGE...: sets root to where the packages are.
unpack() {
  root=$("$REPOSITORY/hack/debs.sh" "$@") || exit 77
}

# joined FOLDER...: those that exist, as one path.
joined() {
  local folder
  for folder in "$@"; do
    [[ ! -d $folder ]] || printf '%s:' "$folder"
  done
}

# program NAME: the unpacked program, or the system's where it is installed.
program() {
  if [[ -x $root/usr/bin/$1 ]]; then echo "$root/usr/bin/$1"; else echo "/usr/bin/$1"; fi
}

# node_modules PACKAGE...: sets root to the folder whose node_modules has the packages.
node_modules() {
  root=$CACHE/npm/$(digest_of "$@")
  [[ ! -f $root/.complete ]] || return 0
  (
    flock -w 300 9
    [[ ! -f $root/.complete ]] || exit 0
    mkdir -p "$root"
    npm install --prefix "$root" --no-audit --no-fund --ignore-scripts --loglevel=error "$@" >&2
    touch "$root/.complete"
  ) 9>"$CACHE/npm.lock" || exit 77
}

mkdir -p "$CACHE/npm"
case $language in
  python)
    unpack python3 python3-six python3-pymemcache python3-pylibmc
    export PYTHONPATH=$root/usr/lib/python3/dist-packages PYTHONDONTWRITEBYTECODE=1
    command=("$(program python3.11)")
    [[ ${command[0]} == /usr/bin/* ]] || export PYTHONHOME=$root/usr
    ;;
  perl)
    unpack libcache-memcached-perl libcache-memcached-fast-perl
    PERL5LIB=$(joined "$root"/usr/share/perl5 "$root"/usr/lib/*/perl5/5.*)
    export PERL5LIB
    command=(/usr/bin/perl)
    ;;
  ruby)
    unpack ruby ruby-dalli
    RUBYLIB=$(joined "$root"/usr/lib/ruby/vendor_ruby "$root"/usr/lib/ruby/3.* \
      "$root"/usr/lib/*/ruby/3.* "$root"/usr/share/rubygems-integration/all/gems/dalli-*/lib)
    export RUBYLIB
    command=("$(program ruby3.1)" --disable-gems)
    ;;
  php)
    unpack php-cli php-memcached
    extensions=$(echo "$root"/usr/lib/php/20*)
    command=("$(program php8.2)" -n -d "extension_dir=$extensions" -d extension=igbinary -d extension=msgpack
      -d extension=memcached)
    ;;
  node)
    have npm || exit 77
    node_modules memjs@1.3.2 memcached@2.2.2 memcached-elasticache@1.1.1
    export NODE_PATH=$root/node_modules
    command=(node)
    ;;
  *) die "no clients of $language" ;;
esac
LD_LIBRARY_PATH=$(joined "$root"/usr/lib/*-linux-gnu* "$root"/lib/*-linux-gnu*)${LD_LIBRARY_PATH:-}
export LD_LIBRARY_PATH
exec "${command[@]}" "$@"
