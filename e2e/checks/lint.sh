#!/bin/bash
# make lint: clang-tidy over everything compiled (build/compile_commands.json), then cppcheck.
set -u
cd "$(dirname "$0")/../.." || exit 1
checks='-*,clang-analyzer-*,-clang-analyzer-security.insecureAPI.*,bugprone-*,-bugprone-easily-swappable-parameters'
checks+=',-bugprone-suspicious-string-compare'
checks+=',-bugprone-reserved-identifier,-bugprone-assignment-in-if-condition,-bugprone-narrowing-conversions,-bugprone-implicit-widening-of-multiplication-result'
find include haproxy controller e2e -name '*.c' -not -name '*_fuzz.c' | sort |
	xargs -P "$(nproc)" -n 4 clang-tidy -p build --quiet --warnings-as-errors='*' -checks="$checks" || exit 1
e2e/checks/cppcheck.sh
