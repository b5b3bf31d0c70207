#!/bin/bash
# deps.sh: installs what a node needs of Debian: the container runtime, its plug-ins and the kernel's tools. Silent if all is there.
set -eu
PATH=$PATH:/usr/sbin:/sbin
missing=
for command in containerd runc nft iptables ip conntrack socat openssl curl nsenter unshare ps; do
	command -v $command >/dev/null || missing+=" $command"
done
[ -x /usr/lib/cni/ptp ] || missing+=' /usr/lib/cni/ptp'
[ -n "$missing" ] || exit 0
echo "Installing what is missing for a Kubernetes node:$missing"
command -v apt-get >/dev/null || { echo 'This is not a Debian system: install these and try again.' >&2; exit 1; }
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# --no-install-recommends, and no service is started: up.sh runs a containerd of its own, in its own folders.
{ apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends containerd runc \
	containernetworking-plugins iptables nftables iproute2 conntrack socat openssl curl procps util-linux; } \
	>"$log" 2>&1 </dev/null || { tail -n 15 "$log" >&2; exit 1; }
