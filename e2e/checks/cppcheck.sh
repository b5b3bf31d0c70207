#!/bin/bash
# cppcheck finds nothing. A false alarm is answered beside the line: // cppcheck-suppress ID, and why.
set -u
cd "$(dirname "$0")/../.." || exit 1
command -v cppcheck >/dev/null || { echo 'cppcheck is not installed' >&2; exit 1; }
# What it misreads here, everywhere: an arena's memory is not its handle's (returnDanglingLifetime); a name used in its own
# initialiser's call (legacyUninitvar; the compilers do it better); NULL as the last argument is a pointer on every system
# hatchway runs on (varFuncNullUB); int and unsigned in formats are the compilers' (invalidPrintfArgType_uint).
suppress=(missingIncludeSystem normalCheckLevelMaxBranches checkersReport unmatchedSuppression returnDanglingLifetime
	legacyUninitvar varFuncNullUB invalidPrintfArgType_uint)
# uthash's macros alone make thousands of paths, hence few configurations, and a loop it understands.
exec cppcheck --quiet --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability \
	"${suppress[@]/#/--suppress=}" --max-configs=2 -j "$(nproc)" -D_GNU_SOURCE -DHATCHWAY_VERSION='"x"' -DPCRE2_CODE_UNIT_WIDTH=8 \
	--include=e2e/checks/cppcheck.h \
	-I . -I include include haproxy controller e2e
