#!/usr/bin/env bash
# linux.sh [TEST...]: boot real Linux kernels with lkvm, on this machine if its KVM can run Linux,
# else in two emulated hosts. TAP; the tests are in linux-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "Linux guests"

kernels=$(./kernels.sh cloud generic rt backport memtest)
{ read -r cloud && read -r generic && read -r rt && read -r backport && read -r memtest; } <<<"$kernels"
./initrd.sh guest "$work/initrd"
./initrd.sh modules "$work/rt-modules" "$rt" button evdev
./initrd.sh modules "$work/cloud-modules" "$cloud" pvpanic-mmio pvpanic-pci virtio_pci virtio_blk virtio-rng
./initrd.sh programs "$work/programs" hwclock
./vmlinux.sh "$cloud"/boot/vmlinuz-* "$work/vmlinux"
lzop -1 -o "$work/vmlinux.lzo" "$work/vmlinux"
objcopy --remove-section=.notes "$work/vmlinux" "$work/no-notes" 2>/dev/null # the section's segment stays
lzop -1 -o "$work/no-notes.lzo" "$work/no-notes"
./uki.sh "$cloud"/boot/vmlinuz-* "$work/initrd" "quiet lkvm.test=show,poweroff" "$work/uki"

status=0
./host.sh --auto --hosts 2 --memory 8192 --timeout 1200 \
	--file "$(echo "$cloud"/boot/vmlinuz-*)=cloud" --file "$(echo "$generic"/boot/vmlinuz-*)=generic" \
	--file "$(echo "$rt"/boot/vmlinuz-*)=rt" --file "$(echo "$backport"/boot/vmlinuz-*)=backport" \
	--file "$memtest/boot/memtest86+x64.bin=memtest" --file "$work/vmlinux.lzo" \
	--file "$work/no-notes.lzo" --file "$work/uki" --file "$work/initrd" --file "$work/programs" --file "$work/rt-modules" --file "$work/cloud-modules" \
	--file job.sh linux-job.sh "$@" || status=$?
exit "$status"
