#!/usr/bin/env bash
# snapshot.sh ROUNDS: run by bench.sh. What it costs to go on from a snapshot, on this machine's KVM: exec to exit
# of a guest that resets as soon as it finds that it is a copy, in turn with one that resets at once, started by
# lkvm and by a program that makes the same KVM calls for that and nothing else; how long a guest stands still
# while it is saved; what a copy takes of memory.
set -euo pipefail
: "${LKVM:?}" "${BENCH:?}" "${GUESTS:?}"
rounds=$1

work=$(mktemp -d)
export LKVM_DIR=$work/sockets
trap '"$LKVM" stop --all >/dev/null 2>&1; rm -rf "$work"' EXIT

# save MB: in $work/MB; prints for how many ms it stood still
save()
{
	"$LKVM" run --name "$1" -c 1 -m "$1" -k "$GUESTS/copy.mb" -p touch=64 </dev/null >"$work/out" 2>"$work/err" &
	until grep -q ready "$work/out"; do
		kill -0 $!
		sleep 0.05
	done
	"$LKVM" snapshot "$1" "$work/$1" | sed -n 's/.*stood still for \([0-9.]*\) ms$/\1/p'
	"$LKVM" stop "$1" >/dev/null
	wait
}

# row NAME: of a line of measure's on standard input
row()
{
	local wall min cpu rss status
	read -r wall min cpu rss status _
	[ "$status" -le 1 ] || {
		printf '  %-28s failed: status %d\n' "$1" "$status"
		exit 1
	}
	printf '  %-28s %9.2f ms %9.2f ms %9.2f ms %8d KiB\n' "$1" "${wall}e-3" "${min}e-3" "${cpu}e-3" "$rss"
	last=$wall
}

# aim TEXT VALUE LIMIT
aim()
{
	awk -v text="$1" -v a="$2" -v b="$3" 'BEGIN {
		printf "  aim: %s at most %s: %.2f, %s\n", text, b, a, a <= b ? "met" : "missed" }'
}

printf '  %-28s %12s %12s %12s %12s\n' '' 'wall median' 'wall min' 'CPU median' 'max RSS'
for mb in 1024 16384; do
	pause=$(save $mb)
	"$BENCH/measure" "$rounds" "$BENCH/bare -m $mb $GUESTS/reset.bin" \
		"$LKVM run -c 1 -m $mb -k $GUESTS/reset.bin" "$LKVM run --restore $work/$mb" >"$work/lines"
	{
		row "bare, $mb MB"
		bare=$last
		row "lkvm run, $mb MB"
		fresh=$last
		row "lkvm run --restore, $mb MB"
	} <"$work/lines"
	printf '  %-28s %9.2f ms\n' "stood still to be saved" "$pause"
	if [ $mb -eq 1024 ]; then
		aim "restore of 1 GB in times of bare" "$(awk "BEGIN { print $last / $bare }")" 1.3
	else
		aim "restore of 16 GB, ms more than a start" "$(awk "BEGIN { print ($last - $fresh) / 1000 }")" 5
	fi
	aim "standing still, ms" "$pause" $((20 + mb / 1024))
done

"$LKVM" run --name base -c 1 -m 64 -k "$GUESTS/halt.bin" </dev/null >"$work/out" 2>"$work/err" &
until "$LKVM" stat base >/dev/null 2>&1; do
	sleep 0.05
done
"$LKVM" fork base --count 50 >"$work/names"
kib=$("$LKVM" list --json | jq -r '.[] | select(.name != "base") | .pid' | while read -r pid; do
	sed -n 's/^Pss: *\([0-9]*\) kB$/\1/p' "/proc/$pid/smaps_rollup"
done | awk '{ sum += $1 } END { print sum / NR }')
printf '  %-28s %9d KiB\n' "memory of each of 50 copies" "${kib%.*}"
aim "MiB of each of 50 copies" "$(awk "BEGIN { print $kib / 1024 }")" 3
