#!/usr/bin/env bash
# savevm.sh: run by bench.sh. A Linux guest with 64 MiB of its 256 in use is saved while it prints a line every 20 ms,
# and goes on from that: by lkvm, by QEMU's savevm into a qcow2 image, by its migration to a file with mapped-ram.
# QEMU is Debian 13's (peers.sh). In one emulated host, in turn, LKVM_BENCH_BOOT_ROUNDS (3) times, in plain wall
# time; the best of all rounds.
#
#	silent    the longest time in which no line came, which no round has below the 20 ms and a little
#	saved     until the command that saves it was done
#	goes on   from exec to the first line
set -euo pipefail
: "${LKVM:?}" "${BENCH:?}" "${MICROVM_CPU:?}"
here=$(cd "$(dirname "$0")" && pwd)
testbed=$here/../testbed

missed()
{
	echo "  QEMU failed: $1"
	echo "  aim: a restore at most 0.5 of QEMU's: QEMU failed, missed"
	exit 0
}

PEERS=$("$here/peers.sh") || missed "Debian 13's packages cannot be had here"
folder=$("$testbed/kernels.sh" cloud)
CLOUD=$(echo "$folder"/boot/vmlinuz-*)
INITRD=$BENCH/savevm-initrd # the emulated host has a /tmp of its own
export PEERS CLOUD INITRD
"$testbed/initrd.sh" guest "$INITRD"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
"$testbed/host.sh" --tree --timeout 1200 -- "$here/savevm-job.sh" "${LKVM_BENCH_BOOT_ROUNDS:-3}" >"$work/out" || status=$?
[ "$status" -eq 0 ] || {
	sed 's/^/  /' "$work/out"
	missed "the emulated host ended with status $status, as above"
}
tr -d '\r' <"$work/out" | awk '
	$1 != "figures" { print "  " $0; next }
	{
		names[$2]
		for (i = 3; i <= 5; i++)
			if (!(($2, i) in best) || $i < best[$2, i])
				best[$2, i] = $i
	}
	function row(name, title) {
		if (name in names)
			printf "  %-28s %9.0f ms %9.0f ms %9.0f ms\n", title, best[name, 3], best[name, 4], best[name, 5]
		else
			printf "  %-28s failed\n", title
	}
	END {
		row("lkvm", "lkvm snapshot, --restore")
		row("savevm", "savevm, -loadvm")
		row("mapped", "mapped-ram, -incoming")
		printf "  aim: a restore at most 0.5 of that by mapped-ram: "
		if (!("lkvm" in names) || !("mapped" in names))
			print "one of them failed, missed"
		else
			printf "%.2f, %s\n", best["lkvm", 5] / best["mapped", 5],
				best["lkvm", 5] <= 0.5 * best["mapped", 5] ? "met" : "missed"
	}'
