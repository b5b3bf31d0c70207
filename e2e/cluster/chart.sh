#!/bin/bash
# chart.sh: the chart has no faults, refuses unknown values, and charts/hatchway.yaml is what it renders to.
# HATCHWAY_BLESS=1 writes that file anew (make bundle). Needs helm: the one of the cache, else of PATH.
set -u
cd "$(dirname "$0")/../.." || exit 1
. e2e/cluster/node/env.sh
PATH=$BIN:$PATH
bundle=charts/hatchway.yaml
helm lint --strict charts/hatchway || exit 1
! helm template hatchway charts/hatchway --set replica=2 >/dev/null 2>&1 || { echo 'chart.sh: an unknown value was taken' >&2; exit 1; }
! helm template hatchway charts/hatchway --set poolPorts.base=80 >/dev/null 2>&1 || { echo 'chart.sh: a privileged port was taken' >&2; exit 1; }
render() {
	echo '# hatchway without helm: kubectl apply -f. Rendered from charts/hatchway by `make bundle`.'
	printf -- '---\napiVersion: v1\nkind: Namespace\nmetadata:\n  name: hatchway-system\n'
	helm template hatchway charts/hatchway --namespace hatchway-system --include-crds --kube-version 1.34.0
}
if [ -n "${HATCHWAY_BLESS:-}" ]; then
	render >$bundle.new && mv $bundle.new $bundle
	exit
fi
diff -u $bundle <(render) || { echo "chart.sh: $bundle is not what the chart renders to; make bundle, and look at the difference" >&2; exit 1; }
