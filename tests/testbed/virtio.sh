#!/usr/bin/env bash
# virtio.sh [TEST...]: Linux's virtio drivers on lkvm's devices, on this machine if its KVM can run
# Linux, else in two emulated hosts. TAP; the tests are in virtio-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"

skip()
{
	echo "1..1"
	echo "ok 1 - Linux's virtio drivers # SKIP $*"
	exit 0
}

# shellcheck source=tests/apt.sh
. ../apt.sh
apt_usable || [ -n "${LKVM_CACHE-}" ] || skip "no apt-get to fetch Debian kernels with, and no \$LKVM_CACHE"

work=$(mktemp -d "${TMPDIR:-/tmp}/lkvm-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

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
