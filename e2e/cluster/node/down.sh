#!/bin/bash
# down.sh: ends the cluster and removes all of it, from whatever state it is in. Silent if there is none.
set -u
. "$(dirname "$0")/env.sh"

is_ours() { # pid: a stale pid file must not hit another process
	[ "$(cat "/proc/$1/comm" 2>/dev/null)" = unshare ] || [ "$(cat "/proc/$1/comm" 2>/dev/null)" = nsenter ]
}

if [ -e "$RUN/pid" ]; then
	pid=$(cat "$RUN/pid")
	is_ours "$pid" && kill -9 "$pid" # its child, init of the PID namespace, dies with it, and with that everything in there
	while is_ours "$pid"; do sleep 0.05; done
fi
# A cgroup stays busy until its last process has been reaped.
for i in $(seq 400); do
	find /sys/fs/cgroup/*/"$NAME" -depth -type d -exec rmdir {} + 2>/dev/null
	ls -d /sys/fs/cgroup/*/"$NAME" >/dev/null 2>&1 || break
	sleep 0.05
done
ip netns del "$NAME" 2>/dev/null
rm -rf "$RUN" "$VAR"
[ ! -e "$VAR" ] && [ ! -e "/run/netns/$NAME" ] || { echo "down.sh: something of $NAME could not be removed" >&2; exit 1; }
