#!/bin/bash
# metallb.sh: MetalLB from its own manifest, and the walk-through's pool of addresses.
set -eu
. "$(dirname "$0")/env.sh"
kubectl() {
	"$NODE_DIR/in.sh" kubectl "$@"
}
kubectl apply -f "$CACHE/metallb.yaml" >/dev/null
kubectl -n metallb-system rollout status deployment/controller --timeout=120s >/dev/null
kubectl -n metallb-system rollout status daemonset/speaker --timeout=120s >/dev/null
# Its webhook answers a little after the Pod is Ready.
for i in $(seq 100); do
	! kubectl apply -f "$NODE_DIR/metallb-pool.yaml" >/dev/null 2>&1 || exit 0
	sleep 0.2
done
kubectl apply -f "$NODE_DIR/metallb-pool.yaml"
