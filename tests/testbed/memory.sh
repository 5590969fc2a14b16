#!/usr/bin/env bash
# memory.sh [TEST...]: memory that Linux guests give back or are given, on this machine if its KVM can run Linux, else
# in an emulated host. TAP; the tests are in memory-job.sh, and "fleet" is not among those that are run by default. $LKVM
# is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "memory that guests give back"

modules=(virtio_pci virtio_mmio virtio_balloon virtio_mem)
files=()
./initrd.sh guest "$work/initrd"
for kernel in cloud backport; do
	folder=$(./kernels.sh $kernel)
	./initrd.sh modules "$work/$kernel-modules" "$folder" "${modules[@]}"
	files+=(--file "$(echo "$folder"/boot/vmlinuz-*)=$kernel" --file "$work/$kernel-modules")
done

status=0
./host.sh --auto --memory "${MEMORY_HOST_MB:-2048}" --timeout 3600 "${files[@]}" --file "$work/initrd" --file job.sh memory-job.sh \
	"$@" || status=$?
exit "$status"
