#!/bin/bash
# run.sh [NAME...]: the scenarios e2e/scenarios/NAME.py, each on a HAProxy and a hatchway of its own. The last line is
# "N passed, N failed". Logs: build/e2e/logs/NAME.log.
set -u
cd "$(dirname "$0")/.." || exit 1
logs=build/e2e/logs
mkdir -p "$logs"
names=("$@")
if [ ${#names[@]} = 0 ]; then
	for file in e2e/scenarios/*.py; do
		names+=("$(basename "$file" .py)")
	done
fi
passed=0
failed=0
for name in "${names[@]}"; do
	begin=$(date +%s)
	if timeout -k 10 "${SCENARIO_SECONDS:-600}" python3 "e2e/scenarios/$name.py" >"$logs/$name.log" 2>&1 </dev/null; then
		echo "ok: $name ($(($(date +%s) - begin)) s)"
		passed=$((passed + 1))
	else
		echo "FAILED: $name ($(($(date +%s) - begin)) s); the end of $logs/$name.log:"
		tail -n 40 "$logs/$name.log"
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
