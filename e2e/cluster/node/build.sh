#!/bin/bash
# build.sh [control|node|conformance ...]: builds from Go modules, into the cache folder (env.sh), what is not there yet.
#   control      bin/hyperkube, all of Kubernetes and etcd in one program; crds/VERSION and VERSION-experimental, the Gateway API's CRDs
#   node         control; bin/helm; MetalLB; images/node.tar
#   conformance  node; bin/conformance.test; images/conformance.tar
# A cold build of hyperkube takes 5 to 10 minutes of two cores, all the others together about as long.
set -eu
. "$(dirname "$0")/env.sh"
KUBERNETES=v1.34.4
METALLB=v0.14.8
CRDS='v1.1.0 v1.6.3' # what the walk-through names, and the newest whose conformance suite builds with this Go
export CGO_ENABLED=0 GOFLAGS="-buildvcs=false -trimpath"

command -v go >/dev/null && go -C "$NODE_DIR/go/hyperkube" version >/dev/null 2>&1 || {
	echo 'Go 1.26 or newer is needed to build Kubernetes for these tests: install it (https://go.dev/dl), so that `go` is on PATH.' >&2
	exit 1
}
mkdir -p "$BIN" "$CACHE/images" "$CACHE/parts" "$CACHE/crds" "$CACHE/stamps"
exec 9>"$CACHE/lock"
flock 9

module() { # name: the module of go/NAME, whatever is in it; the stamp is a digest of that and of how it is built
	local stamp
	stamp=$(cat "$NODE_DIR/go/$1"/* <(declare -f "build_$1") | sha256sum)
	[ "$(cat "$CACHE/stamps/$1" 2>/dev/null)" != "$stamp" ] || return 0
	echo "building $1"
	SECONDS=0
	(cd "$NODE_DIR/go/$1" && "build_$1")
	printf '%s' "$stamp" >"$CACHE/stamps/$1"
	echo "built $1 ($SECONDS s)"
}

build_hyperkube() {
	local version=k8s.io/component-base/version name
	go build -ldflags "-s -w -X $version.gitVersion=$KUBERNETES -X $version.gitMajor=1 -X $version.gitMinor=34" -o "$BIN/hyperkube" .
	for name in etcd kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do
		ln -sf hyperkube "$BIN/$name"
	done
}

# `helm template` and `helm lint` take the Kubernetes they stand for from the build.
build_helm() {
	local kube=helm.sh/helm/v3/pkg/chartutil.k8sVersion lint=helm.sh/helm/v3/pkg/lint/rules.k8sVersion
	go build -ldflags "-s -w -X ${kube}Major=1 -X ${kube}Minor=34 -X ${lint}Major=1 -X ${lint}Minor=34" \
		-o "$BIN/helm" helm.sh/helm/v3/cmd/helm
}

build_metallb() {
	go build -ldflags '-s -w' -o "$CACHE/parts/" go.universe.tf/metallb/controller go.universe.tf/metallb/speaker
	gcc -O2 -s -static -o "$CACHE/parts/pause" "$NODE_DIR/pause.c"
	# Its probes wait 10 s before they ask for the first time.
	sed -E 's/initialDelaySeconds: 10/initialDelaySeconds: 0/; s/periodSeconds: 10/periodSeconds: 1/; s/failureThreshold: 3/failureThreshold: 60/' \
		"$(go list -m -f '{{.Dir}}' go.universe.tf/metallb)/config/manifests/metallb-native.yaml" >"$CACHE/metallb.yaml"
	"$NODE_DIR/../image.py" "$CACHE/images/node.tar" "registry.k8s.io/pause:3.10=$CACHE/parts/pause" \
		"quay.io/metallb/controller:$METALLB=$CACHE/parts/controller" "quay.io/metallb/speaker:$METALLB=$CACHE/parts/speaker"
}

build_coredns() {
	go build -ldflags '-s -w' -o "$CACHE/parts/coredns" .
}

# The suite's manifests name echo-basic by three tags; one build serves them.
build_conformance() {
	local echo=registry.k8s.io/gateway-api/echo-basic
	go build -ldflags '-s -w' -o "$CACHE/parts/echo-basic" sigs.k8s.io/gateway-api/conformance/echo-basic
	go test -c -ldflags '-s -w' -o "$BIN/conformance.test" .
	"$NODE_DIR/../image.py" "$CACHE/images/conformance.tar" "registry.k8s.io/coredns/coredns:v1.12.2=$CACHE/parts/coredns" \
		"$echo:v1.5.1,$echo:v1.6.0-dev.2,$echo:v1.6.0-dev.3=$CACHE/parts/echo-basic"
}

# kustomization.yaml, which the experimental channel has, is no object.
crds() {
	local version channel dir to
	for version in $CRDS; do
		for channel in standard experimental; do
			to=$CACHE/crds/$version$([ $channel = standard ] || echo -$channel)
			[ ! -e "$to" ] || continue
			dir=$(cd / && go mod download -json "sigs.k8s.io/gateway-api@$version" | sed -n 's/^\t"Dir": "\(.*\)",*$/\1/p')
			rm -rf "$to.new"
			cp -r --no-preserve=mode "$dir/config/crd/$channel" "$to.new"
			rm -f "$to.new/kustomization.yaml"
			mv "$to.new" "$to"
		done
	done
}

for what in "${@:-node}"; do
	module hyperkube
	crds
	case $what in
	control) ;;
	node | conformance)
		module helm
		module metallb
		[ "$what" = node ] || { module coredns && module conformance; }
		;;
	*)
		sed -n '2,6s/^# //p' "$0" >&2
		exit 2
		;;
	esac
done
