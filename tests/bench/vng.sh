#!/usr/bin/env bash
# vng.sh: run by bench.sh. `lkvm run -- true` and virtme-ng's `vng -- true`, both with Debian's cloud kernel on a
# Debian 13 tree (peers.sh), which has virtme-ng 1.35, its QEMU and virtiofsd. In one emulated host, in turn,
# LKVM_BENCH_BOOT_ROUNDS (3) times, in plain wall time, as in boot.sh; the first round, which brings files into
# the page cache, does not count.
set -euo pipefail
: "${LKVM:?}" "${BENCH:?}" "${MICROVM_CPU:?}"
here=$(cd "$(dirname "$0")" && pwd)
testbed=$here/../testbed

missed()
{
	echo "  virtme-ng failed: $1"
	echo "  aim: lkvm run -- true at most 0.5 of vng -- true: vng failed, missed"
	exit 0
}

PEERS=$("$here/peers.sh") || missed "Debian 13's packages cannot be had here"
folder=$("$testbed/kernels.sh" cloud)
CLOUD=$(echo "$folder"/boot/vmlinuz-*)
export PEERS CLOUD
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
"$testbed/host.sh" --tree --timeout 1200 -- "$here/vng-job.sh" "${LKVM_BENCH_BOOT_ROUNDS:-3}" >"$work/out" || status=$?
[ "$status" -eq 0 ] || {
	sed 's/^/  /' "$work/out"
	missed "the emulated host ended with status $status, as above"
}
tr -d '\r' <"$work/out" | awk '
	$1 != "figures" { print "  " $0; next }
	{ n++; name = n == 1 ? "lkvm run -- true" : "vng -- true"; min[n] = $3 }
	$6 { failed[n] = 1; printf "  %-18s failed: status %d\n", name, $6; next }
	{ printf "  %-18s %6.0f ms, at best of all rounds %6.0f ms\n", name, $2 / 1000, $3 / 1000 }
	END {
		printf "  aim: lkvm run -- true at most 0.5 of vng -- true: "
		if (n < 2 || failed[1] || failed[2])
			print "one of them failed, missed"
		else
			printf "%.2f, %s\n", min[1] / min[2], (min[1] <= 0.5 * min[2]) ? "met" : "missed"
	}'
