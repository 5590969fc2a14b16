#!/usr/bin/env bash
# firmware.sh [TEST...]: firmware boots Linux, on this machine if its KVM can run Linux, else in two emulated hosts. TAP;
# the tests are in firmware-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "firmware"

cloud=$(./kernels.sh cloud)
kernel=$(echo "$cloud"/boot/vmlinuz-*)
./initrd.sh guest "$work/initrd"
./boot-disk.sh syslinux "$work/syslinux.disk" "$kernel" "$work/initrd" 'console=ttyS0 quiet lkvm.test=show,bars,poweroff'
./boot-disk.sh syslinux "$work/saved.disk" "$kernel" "$work/initrd" 'console=ttyS0 quiet lkvm.test=input,show,bars,poweroff'
./boot-disk.sh grub "$work/grub.disk" "$kernel" "$work/initrd" 'console=ttyS0 quiet lkvm.test=show,bars,reboot'

status=0
./host.sh --auto --hosts 2 --memory 5120 --timeout 1200 --file /usr/share/seabios/bios-256k.bin \
	--file /usr/lib/ipxe/qemu/pxe-virtio.rom --file "$kernel=cloud" --file "$work/initrd" --program libslirp.so.0 \
	--file /usr/share/seabios/vgabios-ramfb.bin --program libpng16.so.16 \
	--file "$work/syslinux.disk" --file "$work/saved.disk" --file "$work/grub.disk" --file job.sh firmware-job.sh "$@" || status=$?
exit "$status"
