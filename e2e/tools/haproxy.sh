#!/bin/bash
# haproxy.sh [DIR]: makes DIR/haproxy (default build/haproxy/haproxy) a HAProxy of version 3.4 or newer, with Lua and PCRE2.
# One on PATH will do; else Debian's package is unpacked into DIR with its own libraries. Nothing of the system is touched,
# no root is needed. The archive and its key are those the machine's apt already trusts. Quick when it is there already.
set -u
cd "$(dirname "$0")/../.." || exit 1
dir=${1:-build/haproxy}
mkdir -p "$dir" && dir=$(cd "$dir" && pwd) || exit 1
haproxy=$dir/haproxy

fail() {
	echo "$1 hatchway needs HAProxy 3.4 or newer with Lua: install it so that \`haproxy\` is on PATH, and try again." >&2
	exit 1
}

good() { # HAProxy at $1 is new enough and has what the routing program uses
	local about
	about=$("$1" -vv 2>/dev/null) || return 1
	[[ $about =~ HAProxy\ version\ ([0-9]+)\.([0-9]+) ]] || return 1
	[ $((BASH_REMATCH[1] * 1000 + BASH_REMATCH[2])) -ge 3004 ] || return 1
	[[ $about == *Lua* && $about == *PCRE2* ]]
}

if [ -x "$haproxy" ] && good "$haproxy"; then
	exit 0
fi
rm -f "$haproxy"
found=$(PATH=$PATH:/usr/local/sbin:/usr/sbin command -v haproxy)
if [ -n "$found" ] && good "$found"; then
	ln -s "$found" "$haproxy"
	echo "Using $found"
	exit 0
fi

command -v apt-get >/dev/null 2>&1 || fail 'This is not a Debian system, so HAProxy cannot be fetched.'
uri=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -E '/debian/?$' | head -n 1)
[ -n "$uri" ] || fail "No Debian archive is among apt's sources, so HAProxy cannot be fetched."
key=$(ls /usr/share/keyrings/debian-archive-keyring.{gpg,pgp} 2>/dev/null | head -n 1)
[ -n "$key" ] || fail "Debian's archive key is not installed (package debian-archive-keyring), so HAProxy cannot be fetched."

apt=$dir/.apt
trap 'rm -rf "$apt"' EXIT
rm -rf "$apt" "$dir/root"
mkdir -p "$apt"/{lists/partial,cache/archives/partial,debs,none}
printf 'deb [signed-by=%s] %s %s main\n' "$key" "$uri" experimental "$key" "$uri" sid >"$apt/sources.list"
options=(-qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts="$apt/none" -o Dir::State::lists="$apt/lists"
	-o Dir::Cache="$apt/cache" -o APT::Sandbox::User="$(id -un)" -o Acquire::Languages=none -o Acquire::Retries=3
	-o Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled=false -o Debug::NoLocking=true
	-o APT::Update::Error-Mode=any -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
libraries=(libc6 libcrypt1 liblua5.4-0 libpcre2-8-0 libssl3t64 zlib1g libgcc-s1 libzstd1 libcap2 libjemalloc2
	libopentracing-c-wrapper0t64 libopentracing1 libstdc++6)

echo "Fetching HAProxy from $uri into $dir"
apt-get "${options[@]}" update >"$apt/log" 2>&1 || fail "$uri does not answer (no network?), so HAProxy cannot be fetched."
cd "$apt/debs" || exit 1
{ apt-get "${options[@]}" download haproxy/experimental || apt-get "${options[@]}" download haproxy/sid; } >>"$apt/log" 2>&1 &&
	apt-get "${options[@]}" download "${libraries[@]/%//sid}" >>"$apt/log" 2>&1 ||
	{ tail -n 5 "$apt/log" >&2; fail 'HAProxy or a library of it could not be fetched.'; }
for deb in *.deb; do
	dpkg-deb -x "$deb" "$dir/root" || fail "$deb could not be unpacked."
done
rm -rf "$dir/root/usr/share" "$dir/root/etc" # manuals and the system's own configuration
loader=$(find "$dir/root" -name 'ld-linux*.so.*' | sort | head -n 1)
libdir=$(find "$dir/root" -name 'libc.so.6' -printf '%h\n' | head -n 1)
cat >"$haproxy.tmp" <<WRAPPER
#!/bin/sh
exec "$loader" --library-path "$libdir" --argv0 "$haproxy" "$dir/root/usr/sbin/haproxy" "\$@"
WRAPPER
chmod +x "$haproxy.tmp"
good "$haproxy.tmp" || { "$haproxy.tmp" -v >&2; fail "Debian's HAProxy does not run here."; }
mv "$haproxy.tmp" "$haproxy"
"$haproxy" -v | head -n 1
