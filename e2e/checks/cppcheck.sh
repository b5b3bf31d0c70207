#!/bin/bash
# cppcheck finds nothing. A false alarm is answered beside the line: // cppcheck-suppress ID, and why.
set -u
cd "$(dirname "$0")/../.." || exit 1
command -v cppcheck >/dev/null || { echo 'cppcheck is not installed' >&2; exit 1; }
# uthash's macros alone make thousands of paths, hence few configurations. returnDanglingLifetime takes an arena's memory for its handle's.
exec cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability \
	--suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches --suppress=checkersReport --suppress=unmatchedSuppression \
	--suppress=returnDanglingLifetime --max-configs=2 -j "$(nproc)" -D_GNU_SOURCE -DHATCHWAY_VERSION='"x"' -DPCRE2_CODE_UNIT_WIDTH=8 -I . -I include \
	include haproxy controller e2e
