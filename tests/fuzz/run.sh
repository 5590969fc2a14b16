#!/usr/bin/env bash
# run.sh FOLDER SECONDS FUZZER...: run each fuzzer of FOLDER over its corpus for SECONDS; TAP. An
# input that makes one fail is kept in FOLDER/failed and named.
set -u
folder=$1 seconds=$2
shift 2
n=0 bad=0

# One fuzzer. Its own messages are dropped (a loader complains about every input), those of
# libFuzzer and the sanitizers are not. An input that takes 10 s is a hang.
run() {
	local found=$folder/corpus/${1#fuzz_}
	local corpora=("$found")

	[ ! -d "tests/fuzz/corpus/${1#fuzz_}" ] || corpora+=("tests/fuzz/corpus/${1#fuzz_}")
	mkdir -p "$found" "$folder/failed"
	"$folder/$1" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -close_fd_mask=3 \
		-print_final_stats=1 -artifact_prefix="$folder/failed/$1-" \
		"${corpora[@]}" 2>&1
}

echo "1..$#"
for fuzzer; do
	n=$((n + 1))
	log=$folder/$fuzzer.log
	run "$fuzzer" >"$log"
	status=$?
	inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
	if [ $status -eq 0 ] && [ "${inputs:-0}" -gt 0 ]; then
		echo "ok $n - $fuzzer: $inputs inputs"
		continue
	fi
	bad=$((bad + 1))
	echo "not ok $n - $fuzzer: status $status"
	{ grep -m1 -A40 -E 'ERROR:|runtime error:' "$log" || tail -n 20 "$log"; } | sed 's/^/# /'
	sed -n "s|.*Test unit written to \(.*\)|# again with: $folder/$fuzzer \1|p" "$log"
done
[ $bad -eq 0 ]
