# shellcheck shell=bash disable=SC2154 # node and home are init.sh's
# Sourced by init.sh: containerd, the kubelet and kube-proxy.

# worker_start starts them. The kubelet waits for the images, because there is no registry to pull a missing one from.
worker_start() {
  containerd_config >"$home/containerd.toml"
  component containerd containerd --config "$home/containerd.toml"
  kubelet_config >"$home/kubelet.yaml"
  component kubelet start_kubelet
  kube_proxy_config >"$home/kube-proxy.yaml"
  component kube-proxy kube-proxy --config="$home/kube-proxy.yaml"
}

# containerd_config: overlayfs cannot stand on overlayfs, as in a container; there the plain snapshotter serves.
containerd_config() {
  local snapshotter=overlayfs
  [[ $(stat -f -c %T "$home") != overlayfs ]] || snapshotter=native
  cat <<TOML
version = 2
[plugins."io.containerd.internal.v1.opt"]
  path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "memkeep.io/pause:dev"
  disable_apparmor = true
  # oom scores cannot be lowered without CAP_SYS_RESOURCE, which containers and small machines may lack.
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "$snapshotter"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
TOML
}

# kubelet_config: no image is ever collected, no number of processes limited; the rest of what matters is default.
kubelet_config() {
  local pki=$STATE/pki
  cat <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication:
  anonymous: {enabled: false}
  webhook: {enabled: true}
  x509: {clientCAFile: $pki/ca.crt}
authorization: {mode: Webhook}
tlsCertFile: $pki/kubelet-$node.crt
tlsPrivateKeyFile: $pki/kubelet-$node.key
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
failCgroupV1: false
failSwapOn: false
clusterDNS: [$DNS_SERVICE_IP]
clusterDomain: cluster.local
resolvConf: /run/resolv.conf
maxPods: 200
podPidsLimit: -1
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
evictionHard:
  memory.available: 100Mi
  nodefs.available: 1%
  nodefs.inodesFree: 1%
  imagefs.available: 1%
shutdownGracePeriod: 0s
volumePluginDir: /var/lib/kubelet/volume-plugins
YAML
}

start_kubelet() {
  local image
  until ctr version >/dev/null 2>&1; do sleep 0.1; done
  for image in "$IMAGES"/*.tar; do
    ctr --namespace k8s.io images import "$image" || return
  done
  ctr --namespace k8s.io images label memkeep.io/pause:dev io.cri-containerd.pinned=pinned
  kubelet \
    --config="$home/kubelet.yaml" \
    --kubeconfig="$STATE/kubeconfig/kubelet-$node" \
    --hostname-override="$node" \
    --node-ip="$(node_ip "$node")" \
    --root-dir=/var/lib/kubelet
}

# kube_proxy_config: the zeros keep it from writing connection tracking settings, which are the host's.
kube_proxy_config() {
  cat <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: $node
clusterCIDR: $POD_CIDR
clientConnection: {kubeconfig: $STATE/kubeconfig/kube-proxy}
conntrack: {maxPerCore: 0, min: 0, tcpCloseWaitTimeout: 0s, tcpEstablishedTimeout: 0s}
YAML
}
