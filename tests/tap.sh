#!/usr/bin/env bash
# tap.sh PROGRAM...: run TAP programs one after another, show what failed and what was skipped,
# and end with one line of totals. A program that ends without a plan, with too few tests, or with
# a bad status is a failure.
set -u
passed=0 failed=0 skipped=0
out=$(mktemp)
trap 'rm -f "$out"' EXIT

for program; do
	start=$SECONDS
	# Tests send signals, which whoever started us may have ignored (nohup, or & in a script).
	env --default-signal "$program" >"$out" 2>"$out.err" </dev/null
	status=$?
	read -r ok bad skip plan < <(awk '
		/^1\.\.[0-9]+/           { split($1, p, "\\.\\."); plan = p[2] }
		/^ok .*# [Ss][Kk][Ii][Pp]/ { skip++; next }
		/^ok /                   { ok++ }
		/^not ok /               { bad++ }
		END { print ok + 0, bad + 0, skip + 0, plan == "" ? -1 : plan }' "$out")
	complaint=
	if [ "$plan" -lt 0 ]; then
		complaint="printed no plan"
	elif [ $((ok + bad + skip)) -ne "$plan" ]; then
		complaint="planned $plan tests, ran $((ok + bad + skip))"
	elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
		complaint="ended with status $status"
	fi
	printf '%-44s %4d ok %3d failed %3d skipped  %4ds\n' "${program#./}" "$ok" "$bad" "$skip" $((SECONDS - start))
	grep -E '^ok .*# [Ss][Kk][Ii][Pp]' "$out"
	if [ "$bad" -gt 0 ] || [ -n "$complaint" ]; then
		grep -vE '^ok ' "$out"
		cat "$out.err"
		[ -n "$complaint" ] && { echo "not ok: $program $complaint"; bad=$((bad + 1)); }
	fi
	rm -f "$out.err"
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
