#!/usr/bin/env bash
# blk.sh [TEST...]: Linux's block driver on lkvm's disks, on this machine if its KVM can run Linux,
# else in two emulated hosts. TAP; the tests are in blk-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"

skip()
{
	echo "1..1"
	echo "ok 1 - Linux's block driver # SKIP $*"
	exit 0
}

# shellcheck source=tests/apt.sh
. ../apt.sh
apt_usable || [ -n "${LKVM_CACHE-}" ] || skip "no apt-get to fetch Debian kernels with, and no \$LKVM_CACHE"

work=$(mktemp -d "${TMPDIR:-/tmp}/lkvm-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

cloud=$(./kernels.sh cloud)
./initrd.sh guest "$work/initrd"
./initrd.sh modules "$work/modules" "$cloud" virtio_pci virtio_mmio virtio_blk
./initrd.sh image "$work/tools" mkfs.ext4 fio blkdiscard fstrim fallocate
./vmlinux.sh "$cloud"/boot/vmlinuz-* "$work/kernel"

files=()
for name in initrd modules tools kernel; do
	files+=(--file "$work/$name")
done
status=0
./host.sh --auto --hosts 2 --memory 3072 --disk 1024 --timeout 900 "${files[@]}" \
	--program e2fsck --program debugfs --file job.sh blk-job.sh "$@" || status=$?
exit "$status"
