#!/bin/bash
# inner.sh IMAGES.tar...: the cluster's init (up.sh starts it as PID 1 of its namespaces; bash reaps orphans).
set -u
. "$(dirname "$0")/env.sh"
began=$(date -u +%FT%T)
etc=/etc/kubernetes
export KUBECONFIG=$VAR/kubeconfig PATH=$BIN:$PATH

# Every component runs with its default paths, each private to this mount namespace and kept under $VAR.
folders() {
	local dir
	mount --make-rshared /
	mount -t proc proc /proc
	for dir in /var/lib/etcd /var/lib/kubelet /var/lib/containerd /var/lib/cni /var/log/pods /var/log/containers /etc/cni $etc; do
		mkdir -p "$VAR/root$dir" "$dir"
		mount --bind "$VAR/root$dir" "$dir"
	done
	for dir in /run/containerd /run/netns; do
		mkdir -p $dir
		mount -t tmpfs tmpfs $dir
	done
}

# A bridge without ports does what a dummy interface would, which not every kernel has. Its address is set, else it changes
# when the first port joins. The default route: load balancers' addresses need one to be rewritten; nothing leaves.
network() {
	ip link set lo up
	ip link add node0 address 02:00:0a:c8:00:01 type bridge
	ip address add $NODE/24 dev node0
	ip link set node0 up
	ip route add default dev node0
	sysctl -qw net.ipv4.ip_forward=1
}

# kube-apiserver signs its own certificate; that file serves clients as CA. By hand: the ServiceAccounts' key and one token.
secrets() {
	local token
	openssl genrsa -out $etc/sa.key 2048 2>/dev/null
	openssl rsa -in $etc/sa.key -pubout -out $etc/sa.pub 2>/dev/null
	token=$(openssl rand -hex 16)
	echo "$token,admin,admin,system:masters" >$etc/tokens.csv
	cat >"$KUBECONFIG" <<Y
apiVersion: v1
kind: Config
clusters: [{name: e2e, cluster: {server: "https://$NODE:6443", certificate-authority: $VAR/root$etc/pki/apiserver.crt}}]
users: [{name: admin, user: {token: $token}}]
contexts: [{name: e2e, context: {cluster: e2e, user: admin}}]
current-context: e2e
Y
}

# ptp, not bridge: with a bridge, Pod → Service → Pod on one node needs br_netfilter. The oom scores stay: a container's root may not
# lower them.
containerd_files() {
	mkdir -p /etc/cni/net.d
	cat >/etc/cni/net.d/10-pods.conflist <<Y
{"cniVersion": "0.4.0", "name": "pods", "plugins": [
  {"type": "ptp", "ipMasq": false, "ipam": {"type": "host-local", "ranges": [[{"subnet": "$PODS"}]], "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
Y
	cat >$etc/containerd.toml <<Y
version = 2
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.devmapper"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "registry.k8s.io/pause:3.10"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
Y
}

kubelet_files() {
	printf 'nameserver %s\nsearch svc.cluster.local cluster.local\n' "$DNS" >$etc/resolv.conf
	cat >$etc/kubelet.yaml <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /$NAME
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
enforceNodeAllocatable: [pods]
resolvConf: $etc/resolv.conf
clusterDNS: [$DNS]
clusterDomain: cluster.local
maxPods: 250
makeIPTablesUtilChains: false
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: 0%, nodefs.inodesFree: 0%, imagefs.available: 0%, imagefs.inodesFree: 0%}
Y
	# conntrack: a network namespace's own limits are not its to set.
	cat >$etc/kube-proxy.yaml <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $KUBECONFIG}
mode: nftables
clusterCIDR: $PODS
oomScoreAdj: 0
nftables: {minSyncPeriod: 100ms}
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
Y
}

start() { # name, arguments...
	local name=$1
	shift
	"$name" "$@" >>"$VAR/log/$name.log" 2>&1 &
	echo $! >"$VAR/$name.pid"
}

import() { # IMAGES.tar...
	local tar
	until ctr version >/dev/null 2>&1; do sleep 0.05; done
	for tar in "$@"; do
		ctr -n k8s.io images import "$tar" || return
	done
	touch "$VAR/ready.images"
}

api_server() {
	start kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address=$NODE --bind-address=$NODE \
		--cert-dir=$etc/pki --token-auth-file=$etc/tokens.csv --authorization-mode=Node,RBAC --allow-privileged \
		--service-account-issuer=https://kubernetes.default.svc --service-account-key-file=$etc/sa.pub \
		--service-account-signing-key-file=$etc/sa.key --service-cluster-ip-range=$SERVICES \
		--kubelet-preferred-address-types=InternalIP
	until curl -ksf --noproxy '*' --max-time 2 "https://$NODE:6443/readyz" >/dev/null; do sleep 0.05; done
}

# What counts is Ready as said by the kubelet of this start.
node_ready() {
	local status beat
	while :; do
		read -r status beat < <(kubectl get node node1 -o \
			'jsonpath={.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].lastHeartbeatTime}' 2>/dev/null)
		[[ $status != True || $beat < $began ]] || return 0
		sleep 0.1
	done
}

folders
network
secrets
containerd_files
kubelet_files
start containerd --config=$etc/containerd.toml --log-level=warn
import "$@" >"$VAR/log/images.log" 2>&1 & # beside the API server's start
start etcd --data-dir=/var/lib/etcd --unsafe-no-fsync --log-level=warn --listen-client-urls=http://127.0.0.1:2379 \
	--advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380
api_server
touch "$VAR/ready.api"
start kube-controller-manager --kubeconfig="$KUBECONFIG" --leader-elect=false --use-service-account-credentials \
	--service-account-private-key-file=$etc/sa.key --root-ca-file=$etc/pki/apiserver.crt --kube-api-qps=200 --kube-api-burst=400
start kube-scheduler --kubeconfig="$KUBECONFIG" --leader-elect=false
until [ -e "$VAR/ready.images" ]; do sleep 0.05; done
start kubelet --kubeconfig="$KUBECONFIG" --config=$etc/kubelet.yaml --node-ip=$NODE --hostname-override=node1 --housekeeping-interval=30s
start kube-proxy --config=$etc/kube-proxy.yaml --hostname-override=node1
node_ready
touch "$VAR/ready.node"
trap 'kill -9 "$(cat "$VAR/kube-apiserver.pid")"; sleep 1; api_server' USR1 # a scenario: the API server dies and comes back
while :; do
	wait -n 2>/dev/null || sleep 1
done
