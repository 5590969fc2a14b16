#!/usr/bin/env bash
# boot.sh: run by bench.sh. Debian's cloud kernel from start to power-off, in the emulated host with a
# clock that counts instructions: the figures are the same on every run, whatever else this machine
# does, and have nothing to do with the speed of real processors.
#
#	VMM         from exec of lkvm to the guest's first instruction
#	decompress  until the kernel's clock starts; a vmlinux has only its own early start here
#	kernel      until it runs init
#	user        init: mounts /proc, /sys and /dev and calls poweroff
#	shutdown    from the kernel's last line to the end of lkvm
#
# A kvmtool in LKVM_BENCH_KVMTOOL is measured too if it is linked statically; its guest reboots, as
# kvmtool does not end at a power-off.
set -euo pipefail
: "${LKVM:?}" "${BENCH:?}"
testbed=$(cd "$(dirname "$0")/../testbed" && pwd)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
kernel=$("$testbed/kernels.sh" cloud)
"$testbed/initrd.sh" guest "$work/initrd"
"$testbed/vmlinux.sh" "$kernel"/boot/vmlinuz-* "$work/vmlinux"
kvmtool=()
if [ -n "${LKVM_BENCH_KVMTOOL:-}" ] && ! ldd "$LKVM_BENCH_KVMTOOL" >/dev/null 2>&1; then
	kvmtool=(--file "$LKVM_BENCH_KVMTOOL=kvmtool")
fi
printf '  %-20s %9s %12s %9s %6s %10s %9s\n' '' VMM decompress kernel user shutdown total
"$testbed/host.sh" --icount --lkvm "$LKVM" --file "$(echo "$kernel"/boot/vmlinuz-*)=bzImage" \
	--file "$work/vmlinux" --file "$work/initrd" --file "$BENCH/stamp" "${kvmtool[@]}" \
	"$(dirname "$0")/boot-job.sh" >"$work/out"
tr -d '\r' <"$work/out" | while read -r name vmm decompress kernel user shutdown total; do
	printf '  %-20s %6s ms %9s ms %6s ms %3s ms %7s ms %6s ms\n' "$name" "$vmm" "$decompress" "$kernel" \
		"$user" "$shutdown" "$total"
done
