#!/usr/bin/env bash
# ovmf.sh [TEST...]: OVMF boots Linux, on this machine if its KVM can run Linux, else in an emulated host. TAP; the tests
# are in ovmf-job.sh.
#
# The emulated host's clock counts instructions, so that it is a fast machine to itself. OVMF is not done with a tick of
# its timer before the next one comes on a slow one, and the emulator (QEMU 7.2 and later) ends itself when a guest writes
# CR8, as OVMF does at the end of an interrupt, while KVM waits for it to take another.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "OVMF"

cloud=$(./kernels.sh cloud)
kernel=$(echo "$cloud"/boot/vmlinuz-*)
./initrd.sh guest "$work/initrd"
./boot-disk.sh efi "$work/efi.disk" "$kernel" "$work/initrd" 'console=ttyS0 quiet lkvm.test=show,bars,poweroff'
./boot-disk.sh uki "$work/uki.disk" "$kernel" "$work/initrd" 'console=ttyS0 quiet lkvm.test=show,bars,firm,poweroff'

status=0
./host.sh --auto --icount --silence 600 --memory 4096 --timeout 3000 \
	--file /usr/share/OVMF/OVMF_CODE_4M.fd --file /usr/share/OVMF/OVMF_VARS_4M.fd --file /usr/share/OVMF/OVMF_CODE.fd \
	--file "$kernel=cloud" --file "$work/initrd" --file "$work/efi.disk" --file "$work/uki.disk" \
	--file job.sh ovmf-job.sh "$@" || status=$?
exit "$status"
