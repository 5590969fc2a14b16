#!/usr/bin/env bash
# dump.sh ROUNDS: run by bench.sh. A dump of a guest whose 1024 MB are all in use (a file of random bytes), and a copy
# of the file that it makes, in turn. Prints both, and for how long the guest stood still.
set -euo pipefail
: "${LKVM:?}" "${BENCH:?}" "${GUESTS:?}"
rounds=$1

work=$(mktemp -d)
export LKVM_DIR=$work/sockets
trap '"$LKVM" stop --all >/dev/null 2>&1; rm -rf "$work"' EXIT

head -c 1024M /dev/urandom >"$work/ram"
"$LKVM" run --name bench -c 1 -m 1024 --mem-path "$work/ram" -k "$GUESTS/halt.bin" </dev/null >"$work/out" 2>"$work/err" &
until [ -s "$work/out" ]; do
	kill -0 $!
	sleep 0.05
done
printf '#!/bin/sh\nrm -f %s/dump && exec %s dump bench %s/dump >%s/said\n' "$work" "$LKVM" "$work" "$work" >"$work/dump.sh"
printf '#!/bin/sh\nrm -f %s/copy && exec cp --sparse=always %s/dump %s/copy\n' "$work" "$work" "$work" >"$work/copy.sh"
chmod +x "$work"/*.sh
"$BENCH/measure" "$rounds" "$work/dump.sh" "$work/copy.sh" >"$work/lines"
{
	read -r dump _ _ _ status _
	read -r copy _
} <"$work/lines"
[ "$status" -eq 0 ]
printf '  %-28s %9.2f ms\n' "lkvm dump" "${dump}e-3" "cp of the dump" "${copy}e-3" \
	"stood still" "$(sed -n 's/.*stood still for \([0-9.]*\) ms.*/\1/p' "$work/said")"
awk -v a="$dump" -v b="$copy" 'BEGIN {
	printf "  aim: dump of 1024 MB in use: times cp at most 1.2: %.2f, %s\n", a / b, a / b <= 1.2 ? "met" : "missed" }'
