#!/bin/bash
# prepare.sh build|test|bench|lint ...: installs what is missing for these, and nothing that is there. Asks the machine,
# not the package manager, so it is silent wherever the tools come from.
set -u
PATH=$PATH:/usr/sbin:/sbin
missing=()

command_from() { # command package
	command -v "$1" >/dev/null 2>&1 || missing+=("$2")
}

library_from() { # pkg-config module, package
	command -v pkg-config >/dev/null 2>&1 && pkg-config --exists "$1" || missing+=("$2")
}

file_from() { # glob package
	compgen -G "$1" >/dev/null || missing+=("$2")
}

# A package of their own; clang only recommends it.
sanitizers_from_clang() {
	local version
	version=$(clang -dumpversion 2>/dev/null | cut -d . -f 1)
	[ -n "$version" ] || version=$(apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/\1/p' | head -n 1)
	file_from "/usr/lib/llvm-$version/lib/clang/*/lib/linux/libclang_rt.asan*.a" "libclang-rt-$version-dev"
}

for what in "${@:-build}"; do
	case $what in
	build)
		command_from cmake cmake
		command_from ninja ninja-build
		command_from gcc gcc
		file_from '/usr/include/*/sys/types.h' libc6-dev
		command_from pkg-config pkg-config
		library_from libuv libuv1-dev
		library_from yaml-0.1 libyaml-dev
		library_from libpcre2-8 libpcre2-dev
		library_from libcrypto libssl-dev
		library_from libcurl libcurl4-openssl-dev
		library_from jansson libjansson-dev
		library_from libmicrohttpd libmicrohttpd-dev
		file_from '/usr/*include/uthash.h' uthash-dev
		command_from curl curl
		command_from socat socat
		;;
	test)
		library_from cmocka libcmocka-dev
		command_from clang clang
		sanitizers_from_clang
		command_from cppcheck cppcheck
		command_from python3 python3
		command_from nghttpd nghttp2-server
		file_from '/usr/lib/python3/dist-packages/grpc/__init__.py' python3-grpcio
		command_from git git
		;;
	bench)
		command_from python3 python3
		command_from wrk wrk
		command_from h2load nghttp2-client
		command_from taskset util-linux
		command_from valgrind valgrind
		;;
	lint)
		command_from cppcheck cppcheck
		command_from clang-tidy clang-tidy
		;;
	*)
		echo "prepare.sh: unknown: $what" >&2
		exit 2
		;;
	esac
done
[ ${#missing[@]} -gt 0 ] || exit 0
list=$(printf '%s\n' "${missing[@]}" | sort -u | tr '\n' ' ')
list=${list% }
if ! command -v apt-get >/dev/null 2>&1; then
	echo "hatchway needs these, named as Debian's packages; install them and try again: $list" >&2
	exit 1
fi
sudo=
if [ "$(id -u)" != 0 ]; then
	if ! command -v sudo >/dev/null 2>&1 || ! { [ -t 0 ] || sudo -n true 2>/dev/null; }; then
		echo "Packages are missing and only root may install them. As root: apt-get install $list" >&2
		exit 1
	fi
	sudo=sudo
fi
echo "Installing $list"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
install() {
	$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $list
}
install >"$log" 2>&1 </dev/null ||
	{ $sudo apt-get update >>"$log" 2>&1 </dev/null && install >>"$log" 2>&1 </dev/null; } || {
	tail -n 15 "$log" >&2
	echo "apt-get could not install what is missing (no network?). Install it yourself, then try again: $list" >&2
	exit 1
}
