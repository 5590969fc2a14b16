#!/usr/bin/env bash
# tap.sh [--jobs N] PROGRAM... [--kvm PROGRAM...]: run TAP programs one after another, or N at a time, show what
# failed and what was skipped or left out, and end with one line of totals. A program that ends without a plan, with too few
# tests, or with a bad status is a failure, and so is one that has not ended after TAP_LIMIT seconds: with what it
# printed until then.
#
# Programs behind --kvm need /dev/kvm, and run one after another where there is one. Where it cannot be opened they run
# in emulated hosts side by side (testbed/tree.sh).
#
# N jobs, and the emulated hosts, are copies of this script: who makes a folder in $CLAIMS runs the program. HOSTS tells
# the programs of jobs that each has one CPU for its emulated hosts.
set -u
: "${TAP_LIMIT:=3600}"
hosts=2 jobs=1
passed=0 failed=0 skipped=0
out=$(mktemp)
program=
claims='' copies=()
trap '[ ${#copies[@]} -eq 0 ] || kill "${copies[@]}"; [ -z "$program" ] || kill "$program"
	rm -rf "$out" "$out.err" ${claims:+"$claims"}' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# one PROGRAM: run it, say how it went, add it to the totals
one()
{
	local start=$SECONDS status ok bad skip plan complaint='' report
	# Tests send signals, which whoever started us may have ignored (nohup, or & in a script). In the
	# background, as a shell hears of Ctrl-C only between commands.
	timeout -k 10 "$TAP_LIMIT" env --default-signal "$1" >"$out" 2>"$out.err" </dev/null &
	program=$!
	wait "$program"
	status=$?
	program=
	read -r ok bad skip plan < <(awk '
		/^1\.\.[0-9]+/           { split($1, p, "\\.\\."); plan = p[2] }
		/^ok .*# [Ss][Kk][Ii][Pp]/ { skip++; next }
		/^ok /                   { ok++ }
		/^not ok /               { bad++ }
		END { print ok + 0, bad + 0, skip + 0, plan == "" ? -1 : plan }' "$out")
	if [ "$status" -eq 124 ] || [ "$status" -eq 137 ]; then
		complaint="had not ended after $TAP_LIMIT s; its last test: $(tail -n 1 "$out")"
	elif [ "$plan" -lt 0 ]; then
		complaint="printed no plan"
	elif [ $((ok + bad + skip)) -ne "$plan" ]; then
		complaint="planned $plan tests, ran $((ok + bad + skip))"
	elif [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
		complaint="ended with status $status"
	fi
	report=$(
		printf '%-44s %4d ok %3d failed %3d skipped  %4ds\n' "${1#./}" "$ok" "$bad" "$skip" $((SECONDS - start))
		grep -E '^ok .*# [Ss][Kk][Ii][Pp]|^# left out' "$out"
		if [ "$bad" -gt 0 ] || [ -n "$complaint" ]; then
			grep -vE '^ok ' "$out"
			cat "$out.err"
			[ -z "$complaint" ] || echo "not ok: $1 $complaint"
		fi
	)
	say "$report"
	[ -z "$complaint" ] || bad=$((bad + 1))
	passed=$((passed + ok)) failed=$((failed + bad)) skipped=$((skipped + skip))
}

# Copies print at once, each its own programs: a report stays in one piece.
say()
{
	if [ -z "${CLAIMS-}" ]; then
		printf '%s\n' "$1"
	else
		{ flock 9 && printf '%s\n' "$1"; } 9>"$CLAIMS/lock"
	fi
}

# count NUMBER WHAT PROGRAM...: what copies of this script print who share these programs. Each prints totals of its own
# as its last line; one that does not is a failure.
count()
{
	local line totals=0 programs=0 number=$1 what=$2
	shift 2
	while IFS= read -r line; do
		line=${line%$'\r'}
		if [[ $line =~ ^([0-9]+)\ passed,\ ([0-9]+)\ failed,\ ([0-9]+)\ skipped ]]; then
			passed=$((passed + BASH_REMATCH[1])) failed=$((failed + BASH_REMATCH[2]))
			skipped=$((skipped + BASH_REMATCH[3])) totals=$((totals + 1))
		else
			[[ ! $line =~ \ ok\ +[0-9]+\ failed\ +[0-9]+\ skipped\ +[0-9]+s$ ]] || programs=$((programs + 1))
			printf '%s\n' "$line"
		fi
	done
	if [ "$totals" -ne "$number" ] || [ "$programs" -ne $# ]; then
		echo "not ok: $totals of $number $what came to their end, and $programs of $# programs"
		failed=$((failed + 1))
	fi
}

in_hosts()
{
	count "$hosts" "emulated hosts" "$@" < <("${0%/*}/testbed/tree.sh" --hosts "$hosts" -- "$0" "$@" 2>&1)
}

in_jobs()
{
	local i
	claims=$(mktemp -d)
	mkfifo "$claims/said"
	for ((i = 0; i < jobs; i++)); do
		HOSTS=1 CLAIMS=$claims "$0" "$@" >"$claims/said" 2>&1 &
		copies+=($!)
	done
	count "$jobs" jobs "$@" <"$claims/said"
	copies=()
}

if [ "${1-}" = --jobs ]; then
	jobs=$2
	shift 2
fi
if [ "$jobs" -gt 1 ]; then
	several=()
	while [ $# -gt 0 ] && [ "$1" != --kvm ]; do
		several+=("$1")
		shift
	done
	in_jobs "${several[@]}"
fi

turn=0
while [ $# -gt 0 ]; do
	if [ "$1" != --kvm ]; then
		turn=$((turn + 1))
		if [ -z "${CLAIMS-}" ] || mkdir "$CLAIMS/$turn" 2>/dev/null; then
			one "$1"
		fi
	elif [ $# -gt 1 ] && ! "${0%/*}/testbed/tree.sh"; then
		shift
		[ $# -ge "$hosts" ] || hosts=$#
		in_hosts "$@"
		break
	fi
	shift
done
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
