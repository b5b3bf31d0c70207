#!/bin/bash
# Every header compiles on its own, with every compiler there is and the project's warnings: includes what it uses.
set -u
cd "$(dirname "$0")/../.." || exit 1
flags="-std=gnu11 -D_GNU_SOURCE -DPCRE2_CODE_UNIT_WIDTH=8 -I. -Iinclude -Wall -Wextra -Werror -Wno-unused-parameter -fsyntax-only
	$(pkg-config --cflags libuv yaml-0.1 libpcre2-8 libcrypto libcurl jansson)"
failed=0
n=0
for compiler in gcc clang; do
	command -v $compiler >/dev/null || { echo "$compiler is not installed" >&2; exit 1; }
	while read -r header; do
		n=$((n + 1))
		# Twice: the guard must hold.
		printf '#include "%s"\n#include "%s"\n' "$header" "$header" | $compiler $flags -x c - || { echo "$compiler: $header"; failed=$((failed + 1)); }
	done < <(find include haproxy controller -name '*.h' | sort)
done
[ $n -gt 10 ] || { echo 'no headers found' >&2; exit 1; }
echo "$n compilations, $failed failed"
[ $failed = 0 ]
