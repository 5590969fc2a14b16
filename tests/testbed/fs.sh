#!/usr/bin/env bash
# fs.sh [TEST...]: Linux's virtiofs and 9p on folders that lkvm shares, on this machine if its KVM can run
# Linux, else in an emulated host. TAP; the tests are in fs-job.sh. $LKVM is the lkvm to test, and
# $FS_CALLS, $FS_RANDOM and $FS_DAX are the programs fs-calls, fs-random and fs-dax.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"
FS_CALLS=${FS_CALLS:-$PWD/../../build/tests/testbed/fs-calls}
FS_RANDOM=${FS_RANDOM:-$PWD/../../build/tests/testbed/fs-random}
FS_DAX=${FS_DAX:-$PWD/../../build/tests/testbed/fs-dax}

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "Linux's virtiofs"

files=(--file "$FS_CALLS" --file "$FS_RANDOM" --file "$FS_DAX")
./initrd.sh guest "$work/initrd"
./initrd.sh programs "$work/programs.cpio" "$FS_CALLS" "$FS_RANDOM" "$FS_DAX"
for kernel in cloud generic; do
	folder=$(./kernels.sh $kernel)
	p9=()
	[ $kernel = cloud ] || p9=(9p 9pnet_virtio) # the other one has none
	./initrd.sh modules "$work/$kernel-modules" "$folder" virtio_pci virtio_mmio virtio_blk virtiofs "${p9[@]}"
	files+=(--file "$(echo "$folder"/boot/vmlinuz-*)=$kernel" --file "$work/$kernel-modules")
done

status=0
./host.sh --auto --memory 3072 --disk 2560 --timeout 900 "${files[@]}" --file "$work/initrd" \
	--file "$work/programs.cpio" --file job.sh --file fs-virtiofs.differ --file fs-dax.differ --file fs-9p.differ fs-job.sh "$@" || status=$?
exit "$status"
