# shellcheck shell=bash disable=SC2154 # node and home are init.sh's
# Sourced by init.sh: etcd, the API server, the controller manager and the scheduler.

# control_plane_start starts them, and the inner half of the relay to the host.
control_plane_start() {
  start_etcd
  start_api_server
  component controller-manager start_controller_manager
  component scheduler start_scheduler
  component relay socat "UNIX-LISTEN:$STATE/api.sock,fork,unlink-early" TCP:127.0.0.1:6443
}

# until_api_ready waits, because the controller manager and the scheduler end when there is no API server yet.
until_api_ready() {
  until kubectl --kubeconfig="$STATE/kubeconfig/admin-inside" get --raw /readyz >/dev/null 2>&1; do sleep 0.3; done
}

# start_etcd: fsync is off; the data does not outlive the cluster anyway.
start_etcd() {
  component etcd etcd \
    --name=n1 \
    --data-dir="$home/etcd" \
    --unsafe-no-fsync \
    --listen-client-urls=http://127.0.0.1:2379 \
    --advertise-client-urls=http://127.0.0.1:2379 \
    --listen-peer-urls=http://127.0.0.1:2380 \
    --initial-advertise-peer-urls=http://127.0.0.1:2380 \
    --initial-cluster=n1=http://127.0.0.1:2380
}

start_api_server() {
  local pki=$STATE/pki
  component apiserver kube-apiserver \
    --etcd-servers=http://127.0.0.1:2379 \
    --advertise-address="$(node_ip n1)" \
    --bind-address=0.0.0.0 \
    --secure-port=6443 \
    --service-cluster-ip-range="$SERVICE_CIDR" \
    --authorization-mode=Node,RBAC \
    --enable-admission-plugins=NodeRestriction \
    --allow-privileged=true \
    --client-ca-file="$pki/ca.crt" \
    --tls-cert-file="$pki/apiserver.crt" \
    --tls-private-key-file="$pki/apiserver.key" \
    --kubelet-client-certificate="$pki/apiserver-kubelet-client.crt" \
    --kubelet-client-key="$pki/apiserver-kubelet-client.key" \
    --kubelet-certificate-authority="$pki/ca.crt" \
    --kubelet-preferred-address-types=InternalIP,Hostname \
    --service-account-issuer=https://kubernetes.default.svc.cluster.local \
    --service-account-key-file="$pki/sa.pub" \
    --service-account-signing-key-file="$pki/sa.key" \
    --requestheader-client-ca-file="$pki/front-proxy-ca.crt" \
    --requestheader-allowed-names=front-proxy-client \
    --requestheader-username-headers=X-Remote-User \
    --requestheader-group-headers=X-Remote-Group \
    --requestheader-extra-headers-prefix=X-Remote-Extra- \
    --proxy-client-cert-file="$pki/front-proxy-client.crt" \
    --proxy-client-key-file="$pki/front-proxy-client.key" \
    --enable-aggregator-routing=true
}

start_controller_manager() {
  local config=$STATE/kubeconfig/controller-manager pki=$STATE/pki
  until_api_ready
  kube-controller-manager \
    --kubeconfig="$config" \
    --authentication-kubeconfig="$config" \
    --authorization-kubeconfig="$config" \
    --bind-address=127.0.0.1 \
    --leader-elect=false \
    --use-service-account-credentials=true \
    --allocate-node-cidrs=true \
    --cluster-cidr="$POD_CIDR" \
    --service-cluster-ip-range="$SERVICE_CIDR" \
    --root-ca-file="$pki/ca.crt" \
    --service-account-private-key-file="$pki/sa.key" \
    --client-ca-file="$pki/ca.crt" \
    --cluster-signing-cert-file="$pki/ca.crt" \
    --cluster-signing-key-file="$pki/ca.key"
}

start_scheduler() {
  local config=$STATE/kubeconfig/scheduler
  until_api_ready
  kube-scheduler \
    --kubeconfig="$config" \
    --authentication-kubeconfig="$config" \
    --authorization-kubeconfig="$config" \
    --bind-address=127.0.0.1 \
    --leader-elect=false
}
