#!/bin/bash
# demo.sh: the walk-through on this machine. Two helloworld servers, HAProxy and hatchway, all in build/demo/; ten requests;
# then it stays up until Ctrl-C, which ends everything it started.
#   PORT=8080      where the Gateway's port 80 is to be found
#   APP_PORT=5000  the application's port on 127.0.5.1 and 127.0.5.2
#   ONCE=1         also tries what the walk-through promises, and ends: exit code 0 only if all of it held
set -u
cd "$(dirname "$0")/.." || exit 1
. e2e/tools/lib.sh
port=${PORT:-8080}
app_port=${APP_PORT:-5000}
once=${ONCE:-}
root=$PWD
demo=$root/build/demo
hatchway=$root/build/hatchway
haproxy=$root/build/haproxy/haproxy
host=helloworld.sample.com
url=http://127.0.0.1:$port
pids=()
haproxy_pids=
state=
failed=0

stop_everything() {
	local pid
	trap '' INT TERM HUP EXIT
	[ -z "$state" ] || remember_haproxy
	for pid in "${pids[@]}" $haproxy_pids; do
		end_process "$pid"
	done
	wait 2>/dev/null
	[ -z "$state" ] || [ "$state" = "$demo/state" ] || rm -rf "$state"
	[ -z "$state" ] || rm -f "$demo/pids"
}

# HAProxy's processes are not our children: the master is hatchway's, and outlives it if hatchway is killed.
remember_haproxy() {
	local now
	now=$(echo 'show proc' | timeout 2 socat -t1 - "unix-connect:$state/master.sock" 2>/dev/null |
		awk '$2 == "master" || $2 == "worker" { print $1 }' | tr '\n' ' ')
	[ -z "$now" ] || haproxy_pids=$now
	printf '%s\n' $$ "${pids[@]}" $haproxy_pids >"$demo/pids"
}

# What a demo that was killed hard left running. One that still runs is none of our business.
stop_leftovers() {
	local pid pids
	[ -r "$demo/pids" ] || return 0
	mapfile -t pids <"$demo/pids"
	if [ -n "${pids[0]-}" ] && belongs_to "${pids[0]}" demo.sh; then
		die "The demo runs already (process ${pids[0]}): end that one with Ctrl-C first."
	fi
	for pid in "${pids[@]:1}"; do
		if belongs_to "$pid" "$root/build/"; then
			say "Ending process $pid, left from an earlier demo"
			end_process "$pid"
		fi
	done
	rm -f "$demo/pids"
}

belongs_to() { # pid, text of its command line
	[ -r "/proc/$1/cmdline" ] && tr '\0' ' ' <"/proc/$1/cmdline" | grep -qF "$2"
}

check_ports() {
	case $port$app_port in *[!0-9]*) die "PORT and APP_PORT are numbers, not '$port' and '$app_port'." ;; esac
	port_taken "$port" && die "Port $port is taken on this machine. Choose another one: make demo PORT=$((port + 1))"
	port_taken "$app_port" 0105007F || port_taken "$app_port" 0205007F &&
		die "Port $app_port, where the two helloworld servers listen, is taken. Choose another one: make demo APP_PORT=$((app_port + 1))"
	[ "$(id -u)" = 0 ] || [ "$port" -ge "$(cat /proc/sys/net/ipv4/ip_unprivileged_port_start)" ] ||
		die "Only root may listen on port $port. Choose a higher one: make demo PORT=8080"
}

start() { # name, command...
	local name=$1
	shift
	# A session of its own: Ctrl-C at the terminal reaches this script alone, which then ends things in order.
	setsid "$@" >"$demo/$name.log" 2>&1 </dev/null &
	pids+=($!)
	printf '%s\n' $$ "${pids[@]}" >"$demo/pids"
}

prepare_folders() {
	rm -rf "$demo"
	mkdir -p "$demo/manifests" "$demo/status" || exit 1
	cp e2e/walkthrough/*.yaml "$demo/manifests/"
	sed -i -E "s/^(  port|    targetPort): 5000$/\1: $app_port/" "$demo/manifests/application.yaml"
	state=$demo/state
	# A unix socket's path has room for 107 characters.
	[ ${#state} -le 75 ] || state=$(mktemp -d /tmp/hatchway-demo.XXXXXX)
	mkdir -p "$state" && chmod 700 "$state"
}

start_everything() {
	local name
	start helloworld-v2 "$root"/build/e2e/helloworld --address 127.0.5.2 --port "$app_port" --version v2 --instance helloworld-v2-7bd9f44595-tk6xd
	start helloworld-v1 "$root"/build/e2e/helloworld --address 127.0.5.1 --port "$app_port" --version v1 --instance helloworld-v1-77489ccb5f-8gqmn
	start hatchway "$hatchway" run --manifests "$demo/manifests" --state-dir "$state" --status-dir "$demo/status" \
		--haproxy "$haproxy" --port-map "80:$port" --class hatchway --haproxy-stop-on-exit
	within 10 eval 'served || ! alive'
	remember_haproxy
	served || {
		for name in helloworld-v1 helloworld-v2 hatchway; do
			tail -n 15 "$demo/$name.log" >&2
		done
		die "The route did not come up. The lines above are the end of the logs in $demo/."
	}
}

alive() {
	local pid
	for pid in "${pids[@]}"; do
		kill -0 "$pid" 2>/dev/null || return 1
	done
}

status_of() { # path [host]
	curl -s -o /dev/null -m 5 -w '%{http_code}' -H "Host: ${2-$host}" "$url$1"
}

served() {
	[ "$(status_of /hello)" = 200 ]
}

answers() { # how many: that many answers of /hello over one connection
	curl -s -m 60 -H "Host: $host" "$url/hello?n=[1-$1]" 2>/dev/null
}

socket() { # command: HAProxy's answer on its stats socket
	echo "$1" | timeout 5 socat -t5 - "unix-connect:$state/haproxy.sock"
}

ten_requests() {
	say "Ten times: curl -H Host:$host $url/hello"
	answers 10 | tee "$demo/ten" | sed 's/^/  /'
	say
	[ "$(grep -c 'version: v1' "$demo/ten")" = 5 ] && [ "$(grep -c 'version: v2' "$demo/ten")" = 5 ] ||
		die 'Both versions should have answered five times each.'
	say 'Both versions answered, five times each.'
}

# ---- ONCE=1 ----

expect() { # what, got, wanted (an extended regular expression for the whole)
	if [[ $2 =~ ^($3)$ ]]; then
		say "ok: $1: ${2:0:60}"
	else
		say "NOT OK: $1: got '$2', wanted $3"
		failed=$((failed + 1))
	fi
}

contains() { # what, text, wanted substrings...
	local what=$1 text=$2 want
	shift 2
	for want in "$@"; do
		if [[ $text == *"$want"* ]]; then
			say "ok: $what has $want"
		else
			say "NOT OK: $what has no $want:"
			printf '%s\n' "$text" | head -n 20
			failed=$((failed + 1))
		fi
	done
}

save() { # stdin → $1, as editors and kubectl-minded people do: all or nothing
	cat >"$1.new~" && mv "$1.new~" "$1"
}

shares() { # weight of v1, weight of v2: saved, then 1,000 requests at once
	local v1
	sed "s/weight: 90/weight: $1/; t; s/weight: 10/weight: $2/" e2e/walkthrough-canary/route.yaml | save "$demo/manifests/route.yaml"
	sleep 0.05
	answers 1000 >"$demo/thousand"
	v1=$(grep -c 'version: v1' "$demo/thousand")
	expect "answers of 1,000 with weights $1 and $2" "$((v1 + $(grep -c 'version: v2' "$demo/thousand")))" 1000
	if [ $((v1 - $1 * 10)) -ge -2 ] && [ $((v1 - $1 * 10)) -le 2 ]; then
		say "ok: shares right after saving: $v1 and $((1000 - v1))"
	else
		say "NOT OK: $v1 answers of version 1, wanted $(($1 * 10)) within 2"
		failed=$((failed + 1))
	fi
}

try_the_walkthrough() {
	local names='helloworld-v1-77489ccb5f-8gqmn helloworld-v2-7bd9f44595-tk6xd'
	expect 'GET /hello/' "$(status_of /hello/)" 404
	expect 'GET /hellox' "$(status_of /hellox)" 404
	expect 'GET /' "$(status_of /)" 404
	expect 'another host' "$(status_of /hello other.example.com)" 404
	expect 'another host of the Gateway' "$(status_of /hello other.sample.com)" 404
	contains 'show servers state sample.helloworld:5000' "$(socket 'show servers state sample.helloworld:5000')" $names
	contains 'show map maps/path.map' "$(socket "show map $(socket 'show map' | grep -oE '[^ ()]*path\.map' | head -n 1)")" \
		80/com.sample.helloworld# /hello/# sample.helloworld:5000
	contains 'hatchway status' "$("$hatchway" status --state-dir "$state" 2>&1)" sample-gateway hatchway True helloworld
	contains 'hatchway explain' "$("$hatchway" explain --state-dir "$state" $host/hello 2>&1)" sample-gateway helloworld sample.helloworld:5000
	say "Weights 90 and 10, saved in $demo/manifests/route.yaml"
	shares 90 10
	say 'Weights edited'
	shares 50 50
	shares 10 90
	contains 'show stat' "$(socket 'show stat')" sample.helloworld $names
	readme_commands
	contains 'hatchway explain' "$("$hatchway" explain --state-dir "$state" $host/hello 2>&1)" helloworld-v1 helloworld-v2 90
	expect 'reloads of HAProxy' "$(echo 'show proc' | socat -t2 - "unix-connect:$state/master.sock" | awk '$2 == "master" { print $3 }')" 0
	contains "the Gateway's status" "$(cat "$demo/status/Gateway/sample-ingress/sample-gateway.yaml")" 'reason: Programmed' 'attachedRoutes: 1'
}

# The README's "Look inside", word for word, where its reader is by then: the canary has taken the first backend's place.
readme_commands() {
	local line out n=0
	[ "$state" = "$demo/state" ] || return 0 # its path was too long: the README names the usual one
	sleep 2
	while read -r line; do
		out=$(bash -c "set -o pipefail; ${line%%   #*}" 2>&1) && [[ $out != *"Can't find"* && $out == *helloworld* ]]
		expect "README: ${line%%   #*}" "$?" 0
		n=$((n + 1))
	done < <(sed -n '/^## The walk-through/,/^## Using it on a folder/{ /^build\/hatchway /p; /^echo /p }' README.md)
	[ $n -ge 4 ] || { say "NOT OK: the README has $n commands to look inside"; failed=$((failed + 1)); }
}

what_to_try() {
	cat <<EOF

It stays up until Ctrl-C. In another terminal, try:

  curl -H Host:$host $url/hello

  # The canary: version 1 gets 90 of 100 requests. Then edit the weights, and save.
  cp $root/e2e/walkthrough-canary/route.yaml $demo/manifests/route.yaml
  \${EDITOR:-vi} $demo/manifests/route.yaml
  curl -s -H Host:$host "$url/hello?[1-1000]" | sort | uniq -c

  # What answers, and why
  $hatchway explain --state-dir $state $host/hello
  $hatchway status --state-dir $state

  # HAProxy itself
  echo 'show servers state' | socat - $state/haproxy.sock
  echo 'show map maps/path.map' | socat - $state/haproxy.sock
  echo 'show stat' | socat - $state/haproxy.sock | cut -d, -f 1,2,8,18,19 | column -t -s,

  # The log, and HAProxy's configuration
  tail $demo/hatchway.log
  less $state/haproxy.cfg

EOF
}

for file in "$hatchway" "$haproxy" build/e2e/helloworld; do
	[ -x "$file" ] || die "$file is not there: run \`make demo\`, which builds it."
done
mkdir -p "$demo"
stop_leftovers
check_ports
trap stop_everything EXIT
trap 'echo; exit 130' INT TERM HUP
prepare_folders
start_everything
ten_requests
if [ -n "$once" ]; then
	try_the_walkthrough
	[ $failed = 0 ] || die "$failed of these did not hold."
	stop_everything
	port_taken "$port" && die "Something still listens on port $port."
	for pid in "${pids[@]}" $haproxy_pids; do
		! running "$pid" || die "Process $pid was left behind."
	done
	say 'ok: nothing was left behind'
	exit 0
fi
what_to_try
while alive; do
	sleep 1 &
	wait $!
done
tail -n 15 "$demo/hatchway.log" >&2
die "One of the demo's processes ended by itself. Its log is in $demo/."
