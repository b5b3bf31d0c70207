#!/bin/bash
# Nothing in the repository knows the machine it was written on.
set -u
cd "$(dirname "$0")/../.." || exit 1
if git rev-parse --git-dir >/dev/null 2>&1; then files=$(git ls-files --cached --others --exclude-standard); else files=$(find . -type f -not -path './build*'); fi
found=$(printf '%s\n' "$files" | grep -v '^\(./\)\?e2e/checks/paths.sh$' | tr '\n' '\0' |
	xargs -0 grep -InE '(^|[^a-zA-Z0-9_.$])/(work|root|home/[a-z]+|Users)/' 2>/dev/null)
[ -z "$found" ] || { printf 'paths of somebody'"'"'s machine:\n%s\n' "$found"; exit 1; }
echo "$(printf '%s\n' "$files" | wc -l) files, no path of a machine"
