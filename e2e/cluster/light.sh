#!/bin/bash
# light.sh up|down|in CMD...|kill-api|start-api: etcd and kube-apiserver alone, in a network namespace of their own; ready
# in seconds. BIN: the folder of etcd, kube-apiserver and kubectl, else what node/build.sh made. NAME: namespace and folder,
# so that several can stand beside each other. Needs root. `up` prints the kubeconfig's path; `in` runs a command inside the network namespace.
set -eu
NAME=${NAME:-hatchway-light}
. "$(dirname "$0")/node/env.sh"
NODE=10.201.0.1
SERVICES=10.97.0.0/16
export KUBECONFIG=$VAR/kubeconfig PATH=$BIN:$PATH

inside() {
	nsenter --net="/run/netns/$NAME" -- "$@"
}

# A stale pid file must not hit another process: the program's name is compared, too.
stop() { # program
	local pid i
	pid=$(cat "$VAR/$1.pid" 2>/dev/null) || return 0
	[ "$(tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | cut -d ' ' -f 1)" = "$BIN/$1" ] && kill -9 "$pid"
	for i in $(seq 100); do
		[ -e "/proc/$pid" ] || break
		sleep 0.05
	done
	rm -f "$VAR/$1.pid"
}

start() { # program arguments...
	local program=$1
	shift
	# exec: the pid is the program's own.
	(exec nsenter --net="/run/netns/$NAME" -- setsid "$BIN/$program" "$@") >>"$VAR/$program.log" 2>&1 </dev/null &
	echo $! >"$VAR/$program.pid"
}

network() {
	ip netns add "$NAME"
	inside ip link set lo up
	inside ip link add node0 address 02:00:0a:c9:00:01 type bridge
	inside ip address add $NODE/24 dev node0
	inside ip link set node0 up
	inside ip route add default dev node0
}

secrets() {
	local token
	[ -e "$VAR/sa.key" ] && return
	openssl genrsa -out "$VAR/sa.key" 2048 2>/dev/null
	openssl rsa -in "$VAR/sa.key" -pubout -out "$VAR/sa.pub" 2>/dev/null
	token=$(openssl rand -hex 16)
	printf '%s,admin,admin,system:masters\n%s,hatchway,hatchway\n' "$token" "hatchway-$token" >"$VAR/tokens.csv"
	chmod 600 "$VAR/tokens.csv"
	config admin "$token" >"$KUBECONFIG"
	# The controller's own user, whose token can be rotated: tokens.csv, start-api, token.hatchway.
	printf 'hatchway-%s' "$token" >"$VAR/token.hatchway"
	# Another user of the same rights, by client certificate.
	openssl req -x509 -newkey rsa:2048 -nodes -keyout "$VAR/ca.key" -out "$VAR/ca.crt" -subj /CN=light-ca -days 30 2>/dev/null
	openssl req -newkey rsa:2048 -nodes -keyout "$VAR/client.key" -out "$VAR/client.csr" -subj /O=system:masters/CN=certain 2>/dev/null
	openssl x509 -req -in "$VAR/client.csr" -CA "$VAR/ca.crt" -CAkey "$VAR/ca.key" -CAcreateserial -days 30 \
		-out "$VAR/client.crt" 2>/dev/null
	config certain | sed "s|token: \"\"|client-certificate-data: $(base64 -w 0 "$VAR/client.crt"), client-key: client.key|" \
		>"$VAR/kubeconfig.cert"
	config hatchway | sed 's/token: ""/tokenFile: token.hatchway/' >"$VAR/kubeconfig.hatchway"
}

config() { # user [token]
	cat <<Y
apiVersion: v1
kind: Config
clusters: [{name: light, cluster: {server: "https://$NODE:6443", certificate-authority: pki/apiserver.crt}}]
users: [{name: $1, user: {token: "${2:-}"}}]
contexts: [{name: light, context: {cluster: light, user: $1}}]
current-context: light
Y
}

# What the controller writes, and nothing else: audit.log.
audit_policy() {
	cat >"$VAR/audit.yaml" <<-Y
		apiVersion: audit.k8s.io/v1
		kind: Policy
		omitStages: [RequestReceived]
		rules:
		- level: Metadata
		  users: [hatchway, "system:serviceaccount:hatchway:hatchway"]
		  verbs: [create, update, patch, delete, deletecollection]
		- level: None
	Y
}

start_etcd() {
	start etcd --data-dir="$VAR/etcd" --unsafe-no-fsync --log-level=warn --listen-client-urls=http://127.0.0.1:2379 \
		--advertise-client-urls=http://127.0.0.1:2379 --listen-peer-urls=http://127.0.0.1:2380
}

start_api() {
	local i
	start kube-apiserver --etcd-servers=http://127.0.0.1:2379 --advertise-address=$NODE --bind-address=$NODE \
		--cert-dir="$VAR/pki" --token-auth-file="$VAR/tokens.csv" --authorization-mode=RBAC \
		--service-account-issuer=https://kubernetes.default.svc --service-account-key-file="$VAR/sa.pub" \
		--service-account-signing-key-file="$VAR/sa.key" --service-cluster-ip-range=$SERVICES \
		--client-ca-file="$VAR/ca.crt" --disable-admission-plugins=ServiceAccount \
		--audit-policy-file="$VAR/audit.yaml" --audit-log-path="$VAR/audit.log"
	for i in $(seq 1200); do
		inside curl -ksf --noproxy '*' --max-time 2 "https://$NODE:6443/readyz" >/dev/null && return
		sleep 0.05
	done
	echo "kube-apiserver is not ready; see $VAR/kube-apiserver.log" >&2
	exit 1
}

case ${1:-} in
up)
	[ ! -e "/run/netns/$NAME" ] || { echo "already up; or run: light.sh down" >&2; exit 1; }
	mkdir -p -m 700 "$VAR"
	network
	secrets
	audit_policy
	start_etcd
	start_api
	echo "$KUBECONFIG"
	;;
down)
	stop kube-apiserver
	stop etcd
	ip netns del "$NAME" 2>/dev/null || true
	rm -rf "$VAR"
	;;
in)
	shift
	exec nsenter --net="/run/netns/$NAME" -- "$@"
	;;
kill-api)
	stop kube-apiserver
	;;
start-api)
	start_api
	;;
*)
	sed -n '2,4s/^# //p' "$0" >&2
	exit 2
	;;
esac
