#!/usr/bin/env bash
# fio.sh: run by bench.sh. fio in a Linux guest on lkvm and on QEMU's microvm, beside fio on the same
# file in the emulated host, whose page cache has all of it. The host has one CPU and its clock counts
# instructions: a rate is the work that a request takes in the guest, the VMM and the kernel together,
# whatever else this machine does; nothing is won here by doing two things at a time. So one run of each
# is enough.
set -euo pipefail
: "${LKVM:?}"
here=$(cd "$(dirname "$0")" && pwd)
testbed=$here/../testbed

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$("$testbed/kernels.sh" cloud)
"$testbed/initrd.sh" guest "$work/guest"
"$testbed/initrd.sh" modules "$work/modules" "$kernel" virtio_pci virtio_mmio virtio_blk
mkdir -p "$work/root/words"
cp "$here/guest-fio" "$work/root/words/fio"
(cd "$work/root" && find . | busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$work/words"
{ gzip -dc "$work/guest" && cat "$work/modules" "$work/words"; } >"$work/initrd"
"$testbed/initrd.sh" image "$work/tools" fio

# table FILE: the rates, and per request what the guest on lkvm took
table()
{
	awk '
		{
			if (!($2 in seen)) { seen[$2] = 1; order[++n_shapes] = $2 }
			have[$1] = 1
			rate[$1, $2] = $3; requests[$1, $2] = $4; irqs[$1, $2] = $5; exits[$1, $2] = $6
		}
		function times(a, b) { return b ? sprintf("%.2f", a / b) : "" }
		END {
			printf "  %-12s %10s %10s %8s %10s %8s   %8s %8s %11s\n", "", "host/s", "lkvm/s", "x host",
				(have["qemu"] ? "microvm/s" : ""), (have["qemu"] ? "lkvm x" : ""), "irqs", "exits",
				(have["qemu"] ? "its exits" : "")
			for (i = 1; i <= n_shapes; i++) {
				s = order[i]
				r = times(rate["lkvm", s], rate["host", s])
				if (s ~ /seq/ && (least == "" || r < least)) least = r
				q = have["qemu"] ? times(rate["lkvm", s], rate["qemu", s]) : ""
				if (q != "" && (behind == "" || q < behind)) behind = q
				printf "  %-12s %10.0f %10.0f %8s %10s %8s   %8s %8s %11s\n", s, rate["host", s],
					rate["lkvm", s], r, (have["qemu"] ? sprintf("%.0f", rate["qemu", s]) : ""), q,
					times(irqs["lkvm", s], requests["lkvm", s]),
					times(exits["lkvm", s], requests["lkvm", s]),
					times(exits["qemu", s], requests["qemu", s])
			}
			printf "  aim: sequential at least 0.9 of the host: %s, %s\n", least, (least >= 0.9) ? "met" : "missed"
			if (behind != "")
				printf "  aim: ahead of the microvm: at least %s times it, %s\n", behind,
					(behind > 1) ? "met" : "missed"
		}' "$1"
}

# measure PROGRAM HOST-OPTION...
measure()
{
	local program=$1
	shift
	"$testbed/host.sh" --icount --disk 512 --lkvm "$LKVM" \
		--file "$(echo "$kernel"/boot/vmlinuz-*)=kernel" --file "$work/initrd" --file "$work/tools" \
		--file "$here/guest-fio" --program fio "$@" "$here/fio-job.sh" "$program" >"$work/out" ||
		{ cat "$work/out" && return 1; }
	tr -d '\r' <"$work/out" | grep "^$program " >>"$work/lines"
}

measure host
measure lkvm
if [ -n "$(command -v qemu-system-x86_64)" ]; then
	measure qemu --program qemu-system-x86_64 --file /usr/share/qemu/bios-microvm.bin \
		--file /usr/share/qemu/linuxboot_dma.bin || echo "  the microvm failed"
fi
table "$work/lines"
