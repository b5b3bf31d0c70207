#!/bin/bash
# up.sh [IMAGES.tar ...]: a real single-node Kubernetes in namespaces of its own: etcd, kube-apiserver, kube-controller-manager,
# kube-scheduler, kubelet with containerd, kube-proxy. Returns when the node is Ready and the images (the cache's node.tar, and
# those named) are there. Needs root. Commands enter with in.sh; down.sh ends it.
set -eu
. "$(dirname "$0")/env.sh"
[ "$(id -u)" = 0 ] || { echo 'up.sh: needs root: it makes network namespaces, mounts and cgroups.' >&2; exit 1; }
[ ! -e "$RUN/pid" ] || { echo "up.sh: $NAME is up already, or was left behind; down.sh ends it." >&2; exit 1; }
images=("$CACHE/images/node.tar")
for tar in "$@"; do
	images+=("$(realpath "$tar")")
done
mkdir -p "$RUN" "$VAR/log"
ip netns add "$NAME"
# kubelet makes the cgroups below its root, not the root itself; systemd's is no controller, but containerd wants it.
for hierarchy in /sys/fs/cgroup/*/; do
	case $hierarchy in */unified/) ;; *) mkdir -p "$hierarchy$NAME" ;; esac
done
rm -f "$VAR"/ready.*
# Not `ip netns exec`: that remounts /sys and hides the cgroups. One PID, mount and network namespace holds everything: killing
# its init ends every process, and every mount and Pod's network with it.
setsid nsenter --net="/run/netns/$NAME" unshare --mount --propagation private --pid --fork --kill-child=SIGKILL \
	bash "$NODE_DIR/inner.sh" "${images[@]}" >"$VAR/log/inner.log" 2>&1 </dev/null &
echo $! >"$RUN/pid"

wait_for() { # file, seconds, what
	local end=$((SECONDS + $2))
	until [ -e "$VAR/ready.$1" ]; do
		kill -0 "$(cat "$RUN/pid")" 2>/dev/null && [ $SECONDS -lt $end ] || {
			echo "up.sh: $3 did not come; see $VAR/log:" >&2
			tail -n 5 "$VAR/log/inner.log" >&2
			exit 1
		}
		sleep 0.05
	done
}
wait_for api 120 'the API server'
wait_for images 120 'the images'
wait_for node 120 'the node'
