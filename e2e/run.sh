#!/bin/bash
# run.sh [NAME...]: every scenario, or those named; each on a HAProxy and a hatchway of its own. The last line is
# "N passed, N failed". Logs: build/e2e/logs/NAME.log.
#   e2e/scenarios/NAME.py     from a folder of manifests
#   e2e/cluster/NAME_test.py  on etcd and kube-apiserver alone; and e2e/cluster/chart.sh, the Helm chart
#   e2e/cluster/full/NAME.py  on a whole Kubernetes: that of KUBECONFIG if it is set, else one that is brought up for them
#   conformance               the Gateway API's own suite, likewise; only if named
# What these need is built by e2e/cluster/node/build.sh, with Go, and run as root. Where one of these is missing, that is said, and
# they are left out, unless they were named.
set -u
cd "$(dirname "$0")/.." || exit 1
logs=build/e2e/logs
mkdir -p "$logs"
. e2e/cluster/node/env.sh
passed=0
failed=0
node=e2e/cluster/node
folder=()
light=()
full=()
suite=()

sort_out() { # name: which of the three it is
	if [ -e "e2e/scenarios/$1.py" ]; then
		folder+=("$1")
	elif [ -e "e2e/cluster/$1_test.py" ] || [ "$1" = chart ]; then
		light+=("$1")
	elif [ -e "e2e/cluster/full/$1.py" ]; then
		full+=("e2e/cluster/full/$1.py")
	elif [ "$1" = conformance ]; then
		suite+=("$1")
	else
		echo "run.sh: there is no scenario $1" >&2
		exit 2
	fi
}

every_name() {
	local file
	echo chart
	for file in e2e/scenarios/*.py e2e/cluster/*_test.py e2e/cluster/full/*.py; do
		basename "$file" .py | sed 's/_test$//'
	done
}

try() { # name command...
	local name=$1 begin
	shift
	begin=$(date +%s)
	if timeout -k 30 "${SCENARIO_SECONDS:-600}" "$@" >"$logs/$name.log" 2>&1 </dev/null; then
		echo "ok: $name ($(($(date +%s) - begin)) s)"
		passed=$((passed + 1))
	else
		echo "FAILED: $name ($(($(date +%s) - begin)) s); the end of $logs/$name.log:"
		tail -n 40 "$logs/$name.log"
		failed=$((failed + 1))
	fi
}

# Can the scenarios on Kubernetes run here? Says why not; that is a failure only of those that were asked for by name.
prepared() { # part of build.sh, the cluster there is already
	local why
	if [ "$(id -u)" != 0 ] && [ -z "$2" ]; then
		why='root is needed, to make network namespaces (for those on a whole cluster, KUBECONFIG will do)'
	elif ! why=$({ [ -n "$2" ] || $node/deps.sh; } 2>&1 && $node/build.sh "$1" 2>&1 | tee "$logs/build-$1.log" && exit "${PIPESTATUS[0]}"); then
		why=$(tail -n 1 <<<"$why")
	else
		return 0
	fi
	echo "The scenarios on Kubernetes cannot run here: $why"
	[ -z "$named" ] || failed=$((failed + 1))
	return 1
}

on_light() {
	local name
	for name in "$@"; do
		if [ "$name" = chart ]; then
			try chart e2e/cluster/chart.sh
		else
			try "$name" $node/with.sh "e2e/cluster/${name}_test.py"
		fi
	done
}

on_full() { # images, script...
	local images=$1 script within=()
	shift
	export HATCHWAY_E2E_CRDS=$CACHE/crds
	if [ -n "${KUBECONFIG:-}" ]; then
		PATH=$PATH:$BIN
	else
		trap '$node/down.sh; exit 130' INT TERM HUP
		if ! bring_up "$images" >"$logs/cluster.log" 2>&1; then
			echo "FAILED: the cluster did not come up; the end of $logs/cluster.log:"
			tail -n 20 "$logs/cluster.log"
			failed=$((failed + 1))
			$node/down.sh
			return
		fi
		within=("$node/in.sh")
		export HATCHWAY_E2E_NODE=$PWD/$node
	fi
	for script in "$@"; do
		try "$(basename "$script" .py)" "${within[@]}" python3 "$script"
	done
	[ ${#within[@]} = 0 ] || $node/down.sh || failed=$((failed + 1))
}

bring_up() { # images
	$node/down.sh # what a run that was killed hard left
	e2e/cluster/image.py build/images.tar hatchway haproxy helloworld && $node/up.sh build/images.tar $1 && $node/metallb.sh
}

named=${1:-}
twice=$(every_name | sort | uniq -d)
[ -z "$twice" ] || { echo "run.sh: two scenarios have one name, one would never run: $twice" >&2; exit 2; }
for name in $([ $# -gt 0 ] && printf '%s\n' "$@" || every_name); do
	sort_out "$name"
done
for name in "${folder[@]}"; do
	try "$name" python3 "e2e/scenarios/$name.py"
done
[ ${#light[@]} = 0 ] || ! prepared node '' || on_light "${light[@]}"
[ ${#full[@]} = 0 ] || ! prepared node "${KUBECONFIG:-}" || on_full '' "${full[@]}"
[ ${#suite[@]} = 0 ] || ! prepared conformance "${KUBECONFIG:-}" || on_full "$CACHE/images/conformance.tar" e2e/conformance/conformance.py
echo "$passed passed, $failed failed"
[ $failed = 0 ]
