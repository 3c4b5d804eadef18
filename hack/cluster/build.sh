#!/bin/bash
# build.sh [assets]: builds and fetches everything the cluster needs, into the cache.
#
# With "assets" only Kubernetes and etcd: kube-apiserver, etcd and kubectl in $CACHE/bin are what API tests need. Each
# part is skipped when it is there already, made from the same modules with the same compiler.
set -euo pipefail
# shellcheck source=lib/cluster.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib/cluster.sh"

what=${1:-all}
[[ $what == all || $what == assets ]] || die "usage: build.sh [assets]"
have go || die "go is missing: install Go 1.26 or later"
compiler=$(go env GOVERSION)
stamps=$CACHE/stamps
mkdir -p "$stamps" "$IMAGES" "$TOOLS"

# module_digest DIRECTORY EXTRA...: changes when the module, the compiler or the EXTRA words do.
module_digest() {
  local directory=$1
  shift
  digest_of "$directory"/*.go "$directory"/go.mod "$directory"/go.sum "$compiler" "$GOFLAGS" "$@"
}

build_kubernetes() {
  local version=k8s.io/component-base/version flags digest name
  local names=(etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl)
  flags="-X $version.gitVersion=$KUBERNETES_VERSION -X $version.gitMajor=1"
  flags+=" -X $version.gitMinor=$(cut -d. -f2 <<<"$KUBERNETES_VERSION")"
  digest=$(module_digest "$CLUSTER_DIR/kubernetes" "$flags")
  fresh "$stamps/kubernetes" "$digest" "$BIN/kubernetes" "${names[@]/#/$BIN/}" && return
  say "compiling Kubernetes $KUBERNETES_VERSION and etcd (6 to 10 minutes on two cores the first time)"
  compile "$CLUSTER_DIR/kubernetes" "$BIN/kubernetes" . "$flags"
  for name in "${names[@]}"; do
    ln -sf kubernetes "$BIN/$name"
  done
  echo "$digest" >"$stamps/kubernetes"
}

build_cilium() {
  local module=github.com/cilium/cilium digest source
  digest=$(module_digest "$CLUSTER_DIR/cilium")
  fresh "$stamps/cilium" "$digest" "$BIN/cilium-agent" "$BIN/cilium-cni" "$CILIUM_FILES/bpf" && return
  say "compiling Cilium (4 to 6 minutes on two cores the first time)"
  compile "$CLUSTER_DIR/cilium" "$BIN/cilium-agent" $module/daemon
  compile "$CLUSTER_DIR/cilium" "$BIN/cilium-cni" $module/plugins/cilium-cni
  source=$(go list -C "$CLUSTER_DIR/cilium" -m -f '{{.Dir}}' $module)
  rm -rf "$CILIUM_FILES"
  mkdir -p "$CILIUM_FILES/crds"
  cp -r "$source/bpf" "$CILIUM_FILES/"
  cp "$source"/pkg/k8s/apis/cilium.io/client/crds/v2*/*.yaml "$CILIUM_FILES/crds/"
  chmod -R u+w "$CILIUM_FILES"
  echo "$digest" >"$stamps/cilium"
}

build_coredns() {
  local digest
  digest=$(module_digest "$CLUSTER_DIR/coredns")
  fresh "$stamps/coredns" "$digest" "$BIN/coredns" && return
  say "compiling CoreDNS (1 minute the first time)"
  compile "$CLUSTER_DIR/coredns" "$BIN/coredns" .
  echo "$digest" >"$stamps/coredns"
}

# build_images makes the images that every node has from the start.
build_images() {
  local tools=$REPOSITORY/hack/tools digest
  digest=$(digest_of "$tools"/go.sum "$tools"/mkimage/*.go "$tools"/pause/*.go "$stamps/coredns" "$compiler")
  fresh "$stamps/images" "$digest" "$BIN/mkimage" "$IMAGES/pause.tar" "$IMAGES/coredns.tar" && return
  say "making the images of the pods' sandbox and of CoreDNS"
  compile "$tools" "$BIN/mkimage" ./mkimage
  compile "$tools" "$BIN/pause" ./pause
  "$BIN/mkimage" build -output "$IMAGES/pause.tar" -repository memkeep.io/pause -tag dev -binary "$BIN/pause"
  "$BIN/mkimage" build -output "$IMAGES/coredns.tar" -repository memkeep.io/coredns -tag dev -binary "$BIN/coredns"
  echo "$digest" >"$stamps/images"
}

# fetch_tools gathers the nodes' programs in TOOLS. What the host has of them is used; the container runtime is always
# the distribution's, unpacked beside, so that a Docker or containerd of the host plays no part and is not displaced.
fetch_tools() {
  local root digest name packages=()
  digest=$(digest_of "$LLVM" "${BASH_SOURCE[0]}")
  fresh "$stamps/tools" "$digest" "$TOOLS"/{containerd,runc,clang,iptables,socat} "$CNI_PLUGINS"/ptp && return
  need_root
  say "fetching the container runtime and network tools from the distribution (nothing gets installed)"
  rm -rf "$TOOLS"
  mkdir -p "$TOOLS"
  root=$("$REPOSITORY/hack/debs.sh" containerd runc containernetworking-plugins)
  ln -s "$root"/wrapped/{containerd,containerd-shim-runc-v2,ctr,runc} "$TOOLS/"
  ln -sfn "$root/usr/lib/cni" "$CNI_PLUGINS"

  root=$("$REPOSITORY/hack/debs.sh" iptables nftables ipset conntrack socat)
  ln -s "$root"/wrapped/{nft,ipset,conntrack,socat} "$TOOLS/"
  for name in iptables ip6tables; do
    ln -s "$root/wrapped/$name-nft" "$TOOLS/$name"
    ln -s "$root/wrapped/$name-nft-save" "$TOOLS/$name-save"
    ln -s "$root/wrapped/$name-nft-restore" "$TOOLS/$name-restore"
  done

  root=$("$REPOSITORY/hack/debs.sh" "clang-$LLVM" "llvm-$LLVM")
  ln -s "$root/wrapped/clang-$LLVM" "$TOOLS/clang"
  ln -s "$root/wrapped/llc-$LLVM" "$TOOLS/llc"

  have ip || packages+=(iproute2)
  have openssl || packages+=(openssl)
  have sysctl || packages+=(procps)
  if ((${#packages[@]} > 0)); then
    say "installing ${packages[*]}, which this machine lacks"
    apt-get install -y -qq --no-install-recommends -o DPkg::Lock::Timeout=120 "${packages[@]}" >/dev/null
  fi
  echo "$digest" >"$stamps/tools"
}

exec 9>"$CACHE/build.lock"
flock -n 9 || { say "waiting for another build"; flock 9; }
build_kubernetes
[[ $what == all ]] || exit 0
fetch_tools
build_cilium
build_coredns
build_images
