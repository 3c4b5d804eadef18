# shellcheck shell=bash
# Sourced: the cluster's authorities, certificates and kubeconfigs, made with openssl. They live as long as the cluster.

PKI=$STATE/pki

# pki_key NAME
pki_key() {
  openssl ecparam -name prime256v1 -genkey -noout -out "$PKI/$1.key"
}

# pki_authority NAME
pki_authority() {
  pki_key "$1"
  openssl req -x509 -new -key "$PKI/$1.key" -subj "/CN=$1" -days 365 -out "$PKI/$1.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,digitalSignature,keyEncipherment,keyCertSign
}

# pki_certificate NAME AUTHORITY SUBJECT [ALTERNATIVE-NAMES]
pki_certificate() {
  local name=$1 authority=$2 subject=$3 names=${4:-}
  pki_key "$name"
  {
    echo "keyUsage=critical,digitalSignature,keyEncipherment"
    echo "extendedKeyUsage=clientAuth,serverAuth"
    [[ -z $names ]] || echo "subjectAltName=$names"
  } >"$PKI/$name.ext"
  openssl req -new -key "$PKI/$name.key" -subj "$subject" |
    openssl x509 -req -CA "$PKI/$authority.crt" -CAkey "$PKI/$authority.key" -CAcreateserial -days 365 \
      -extfile "$PKI/$name.ext" -out "$PKI/$name.crt" 2>/dev/null
  rm "$PKI/$name.ext"
}

# pki_kubeconfig NAME CERTIFICATE SERVER
pki_kubeconfig() {
  cat >"$STATE/kubeconfig/$1" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: memkeep-dev
  cluster:
    server: $3
    certificate-authority-data: $(base64 -w0 "$PKI/ca.crt")
users:
- name: $1
  user:
    client-certificate-data: $(base64 -w0 "$PKI/$2.crt")
    client-key-data: $(base64 -w0 "$PKI/$2.key")
contexts:
- name: memkeep-dev
  context: {cluster: memkeep-dev, user: $1}
current-context: memkeep-dev
YAML
}

# pki_client NAME SUBJECT: a certificate, and a kubeconfig for use inside the nodes.
pki_client() {
  pki_certificate "$1" ca "$2"
  pki_kubeconfig "$1" "$1" "https://$(node_ip n1):6443"
}

# pki_make makes everything for NODES nodes.
pki_make() {
  local node api_names
  (umask 077 && mkdir -p "$PKI" "$STATE/kubeconfig")
  pki_authority ca
  pki_authority front-proxy-ca
  openssl genrsa -out "$PKI/sa.key" 2048 2>/dev/null
  openssl rsa -in "$PKI/sa.key" -pubout -out "$PKI/sa.pub" 2>/dev/null

  api_names=DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc
  api_names+=,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$(node_ip n1),IP:$API_SERVICE_IP
  pki_certificate apiserver ca /CN=kube-apiserver "$api_names"
  pki_certificate apiserver-kubelet-client ca /O=system:masters/CN=kube-apiserver-kubelet-client
  pki_certificate front-proxy-client front-proxy-ca /CN=front-proxy-client

  pki_client admin-inside /O=system:masters/CN=admin
  pki_kubeconfig admin admin-inside "https://127.0.0.1:$API_PORT"
  pki_client controller-manager /CN=system:kube-controller-manager
  pki_client scheduler /CN=system:kube-scheduler
  pki_client kube-proxy /CN=system:kube-proxy
  pki_client cilium /O=system:masters/CN=cilium
  for node in $(node_names "$NODES"); do
    pki_certificate "kubelet-$node" ca "/O=system:nodes/CN=system:node:$node" \
      "DNS:$node,IP:$(node_ip "$node"),IP:127.0.0.1"
    pki_kubeconfig "kubelet-$node" "kubelet-$node" "https://$(node_ip n1):6443"
  done
}
