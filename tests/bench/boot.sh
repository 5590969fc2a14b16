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
# Then, where QEMU is installed, the total beside its microvm's with the same kernel and initrd: in
# plain wall time, as its boot stands still under that clock, and in turn, LKVM_BENCH_BOOT_ROUNDS (3) times.
# On one CPU: with two, the emulator's fault with interrupts (host.sh, counting_host) hangs guests often.
#
# A kvmtool in LKVM_BENCH_KVMTOOL is measured too, with the bzImage, if it is linked statically; its guest
# reboots, as kvmtool does not end at a power-off.
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
base=()
[ -z "${LKVM_BENCH_BASE:-}" ] || base=(--file "$LKVM_BENCH_BASE=before")
printf '  %-20s %9s %12s %9s %6s %10s %9s\n' '' VMM decompress kernel user shutdown total
"$testbed/host.sh" --icount --lkvm "$LKVM" --file "$(echo "$kernel"/boot/vmlinuz-*)=bzImage" \
	--file "$work/vmlinux" --file "$work/initrd" --file "$BENCH/stamp" "${kvmtool[@]}" "${base[@]}" \
	"$(dirname "$0")/boot-job.sh" >"$work/out"
tr -d '\r' <"$work/out" | while read -r name vmm decompress kernel user shutdown total; do
	printf '  %-20s %6s ms %9s ms %6s ms %3s ms %7s ms %6s ms\n' "$name" "$vmm" "$decompress" "$kernel" \
		"$user" "$shutdown" "$total"
done

[ -n "$(command -v qemu-system-x86_64)" ] || exit 0
rounds=${LKVM_BENCH_BOOT_ROUNDS:-3}
echo "  plain wall time, best of $rounds rounds in turn"
"$testbed/host.sh" --timeout 900 --lkvm "$LKVM" \
	--file "$(echo "$kernel"/boot/vmlinuz-*)=bzImage" --file "$work/vmlinux" --file "$work/initrd" \
	--file "$BENCH/measure" --program qemu-system-x86_64 --file /usr/share/qemu/bios-microvm.bin \
	--file /usr/share/qemu/linuxboot_dma.bin --file /usr/share/qemu/pvh.bin \
	"$(dirname "$0")/boot-peer-job.sh" "$rounds" >"$work/out"
tr -d '\r' <"$work/out" | awk '
	$6 { printf "  %-20s failed: status %d\n", $1, $6; next }
	{ printf "  %-20s %53s %6.0f ms\n", $1, "", $3 / 1000 }
	/,lkvm/ { ours = $3 }
	/,microvm/ && ours {
		printf "  aim: less than the microvm: %.2f times its time, %s\n", ours / $3,
			ours < $3 ? "met" : "missed"
	}'
