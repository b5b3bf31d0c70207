# Sourced by the other scripts here: the cluster's name, folders and addresses.
NODE_DIR=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
NAME=${NAME:-hatchway-e2e}   # of the network namespace, the cgroups and the folders: several clusters can stand side by side
VAR=${VAR:-/var/lib/$NAME}   # all state: etcd, images, kubelet, certificates, logs
RUN=${RUN:-/run/$NAME}       # the pid of the cluster's init; outside the cluster's mount namespace
CACHE=${HATCHWAY_E2E_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/hatchway-e2e} # what build.sh makes
BIN=${BIN:-$CACHE/bin}
NODE=10.200.0.1              # the node's address, on a bridge without ports
PODS=10.244.0.0/16
SERVICES=10.96.0.0/16
DNS=10.96.0.10
LOAD_BALANCERS=192.168.10.0/24
