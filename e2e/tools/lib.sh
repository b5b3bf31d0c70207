# Sourced by demo.sh: processes, ports, sentences.

say() {
	printf '%s\n' "$*"
}

die() {
	printf '\n%s\n' "$*" >&2
	exit 1
}

# Is somebody listening on TCP port $1, where listening on address $2 (hex as in /proc, or "any") would collide?
port_taken() {
	local hex
	hex=$(printf '%04X' "$1")
	awk -v port="$hex" -v want="${2:-any}" '
		$4 == "0A" {
			split($2, at, ":")
			if (at[2] == port && (want == "any" || at[1] ~ /^0+$/ || at[1] == want))
				found = 1
		}
		END { exit !found }' /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

# Waits until "$@" succeeds; $1 = seconds.
within() {
	local end=$(($(date +%s%N) + $1 * 1000000000))
	shift
	until "$@"; do
		[ "$(date +%s%N)" -lt "$end" ] || return 1
		sleep 0.02
	done
}

# A zombie waits only for its parent to look.
running() {
	[ -r "/proc/$1/stat" ] && ! grep -q ') Z' "/proc/$1/stat" 2>/dev/null
}

# Ends a process and waits until it is gone; after 5 s the hard way.
end_process() {
	kill "$1" 2>/dev/null || return 0
	within 5 eval "! running $1" || kill -9 "$1" 2>/dev/null
	return 0
}
