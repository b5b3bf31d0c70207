#!/bin/bash
# fuzz.sh: every X_fuzz.c, SECONDS_EACH (60) seconds. Seeds are X_corpus/ beside it: what is there is tried first, in
# every run; what the run finds interesting goes to build-fuzz/. A crash is kept in build-fuzz/crashes: copy it to the corpus.
set -u
cd "$(dirname "$0")/../.." || exit 1
seconds=${SECONDS_EACH:-60}
mkdir -p build build-fuzz/crashes
CC=clang cmake -G Ninja -S . -B build-fuzz -DHATCHWAY_FUZZ=ON >build/cmake-fuzz.log || { cat build/cmake-fuzz.log; exit 1; }
mapfile -t fuzzers < <(find include haproxy controller -name '*_fuzz.c' | sort)
[ ${#fuzzers[@]} -gt 0 ] || { echo 'no fuzzer found' >&2; exit 1; }
names=("${fuzzers[@]##*/}")
ninja -C build-fuzz -j"${JOBS:-$(nproc)}" --quiet "${names[@]%.c}" || exit 1
passed=0
failed=0
for source in "${fuzzers[@]}"; do
	name=$(basename "$source" .c)
	seeds=${source%_fuzz.c}_corpus
	found=build-fuzz/found/$name
	mkdir -p "$found"
	[ -d "$seeds" ] || seeds=
	if build-fuzz/"$name" -max_total_time="$seconds" -rss_limit_mb=1024 -timeout=10 -print_final_stats=1 \
		-artifact_prefix=build-fuzz/crashes/"$name-" "$found" $seeds >build-fuzz/"$name".log 2>&1 </dev/null; then
		echo "ok: $name: $(grep -oE 'number_of_executed_units: *[0-9]+' build-fuzz/"$name".log | grep -oE '[0-9]+') inputs"
		passed=$((passed + 1))
	else
		echo "FAILED: $name"
		tail -n 25 build-fuzz/"$name".log
		failed=$((failed + 1))
	fi
done
echo "$passed passed, $failed failed"
[ $failed = 0 ]
