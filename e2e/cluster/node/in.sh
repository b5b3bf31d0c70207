#!/bin/bash
# in.sh COMMAND...     runs it inside the cluster's network namespace, with the cluster's kubeconfig and programs
# in.sh -a COMMAND...  in its mount and PID namespaces, too (ctr, ls /run/netns, ps)
set -eu
. "$(dirname "$0")/env.sh"
export KUBECONFIG=$VAR/kubeconfig PATH=$BIN:$PATH
if [ "${1:-}" = -a ]; then
	shift
	# A mount namespace joined without its PID namespace has a broken /proc/self: all three, or the network alone.
	exec nsenter -t "$(pgrep -P "$(cat "$RUN/pid")")" --net --mount --pid --wdns="$PWD" -- "$@"
fi
exec nsenter --net="/run/netns/$NAME" -- "$@"
