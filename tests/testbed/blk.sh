#!/usr/bin/env bash
# blk.sh [TEST...]: Linux's block driver on lkvm's disks, on this machine if its KVM can run Linux,
# else in two emulated hosts. TAP; the tests are in blk-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "Linux's block driver"

cloud=$(./kernels.sh cloud)
./initrd.sh guest "$work/initrd"
./initrd.sh modules "$work/modules" "$cloud" virtio_pci virtio_mmio virtio_blk
./initrd.sh image "$work/tools" mkfs.ext4 fio blkdiscard fstrim fallocate
./vmlinux.sh "$cloud"/boot/vmlinuz-* "$work/kernel"

# Small images that guests use as they are: some in formats that only qemu-img makes.
truncate -s 8M "$work/ext4"
/sbin/mke2fs -q -F -t ext4 "$work/ext4"
mkdir -p "$work/tree/small"
cp ./*.sh "$work/tree/small"
cp "$LKVM" "$work/tree/large"
(cd "$work/tree" && sha256sum large small/* >sums)
truncate -s 48M "$work/base"
/sbin/mke2fs -q -F -t ext4 -d "$work/tree" "$work/base"
qemu-img convert -q -c -O qcow2 "$work/base" "$work/base.qcow2"
(cd "$work" && qemu-img create -q -f qcow2 -b base.qcow2 -F qcow2 top.qcow2)

files=()
for name in initrd modules tools kernel ext4 base.qcow2 top.qcow2; do
	files+=(--file "$work/$name")
done
status=0
./host.sh --auto --hosts 2 --memory 3072 --disk 1024 --module null_blk --timeout 1200 "${files[@]}" \
	--program e2fsck --program debugfs --program strace \
	--program qemu-img --program qemu-nbd --program libnbd.so.0 --file job.sh blk-job.sh "$@" || status=$?
exit "$status"
