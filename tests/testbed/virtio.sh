#!/usr/bin/env bash
# virtio.sh [TEST...]: Linux's virtio drivers on lkvm's devices, on this machine if its KVM can run
# Linux, else in two emulated hosts. TAP; the tests are in virtio-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "Linux's virtio drivers"

modules=(virtio_pci virtio_mmio virtio_blk virtio-rng)
files=()
./initrd.sh guest "$work/initrd"
for kernel in cloud generic backport; do
	folder=$(./kernels.sh $kernel)
	./initrd.sh modules "$work/$kernel-modules" "$folder" "${modules[@]}"
	files+=(--file "$(echo "$folder"/boot/vmlinuz-*)=$kernel" --file "$work/$kernel-modules")
done

status=0
./host.sh --auto --hosts 2 --memory 3072 --timeout 900 "${files[@]}" --file "$work/initrd" \
	--file job.sh virtio-job.sh "$@" || status=$?
exit "$status"
