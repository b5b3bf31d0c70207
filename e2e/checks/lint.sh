#!/bin/bash
# make lint: clang-tidy over everything compiled but the tests (build/compile_commands.json), then cppcheck.
set -u
cd "$(dirname "$0")/../.." || exit 1
checks='-*,clang-analyzer-*,bugprone-*'
# Not ours to follow: Annex K; struct x * inside sizeof, as arrays of pointers need it; lists in .def files (X-macros).
checks+=',-clang-analyzer-security.insecureAPI.*,-bugprone-sizeof-expression,-bugprone-macro-parentheses'
checks+=',-bugprone-easily-swappable-parameters,-bugprone-suspicious-string-compare,-bugprone-reserved-identifier'
checks+=',-bugprone-assignment-in-if-condition,-bugprone-narrowing-conversions,-bugprone-branch-clone'
checks+=',-bugprone-implicit-widening-of-multiplication-result'
# Fields stand with those they belong to (what objects take is measured: e2e/bench).
checks+=',-clang-analyzer-optin.performance.Padding'
# Not able to: memory that uthash and reference counts look after (ASan over every test does that), pieces put together
# with memcpy, and a va_list given on.
checks+=',-clang-analyzer-unix.Malloc,-bugprone-not-null-terminated-result,-clang-analyzer-valist.Uninitialized'
find include haproxy controller e2e -name '*.c' -not -name '*_fuzz.c' -not -name '*_test.c' | sort |
	xargs -P "$(nproc)" -n 4 clang-tidy -p build --quiet --warnings-as-errors='*' -checks="$checks" || exit 1
e2e/checks/cppcheck.sh
