#!/bin/bash
# with.sh COMMAND...: runs it with what build.sh makes (it does so first): BIN, the folder of etcd, kube-apiserver and kubectl;
# CRDS and OLD_CRDS, the Gateway API's CRDs of the newest release and of v1.1.0. What is set already stays.
set -eu
. "$(dirname "$0")/env.sh"
[ "$BIN" != "$CACHE/bin" ] || "$NODE_DIR/build.sh" control >&2
export BIN CRDS=${CRDS:-$CACHE/crds/v1.6.3} OLD_CRDS=${OLD_CRDS:-$CACHE/crds/v1.1.0}
exec "$@"
