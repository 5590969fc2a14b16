#!/usr/bin/env bash
# snapshot.sh [TEST...]: `lkvm snapshot` and `lkvm run --restore` with Linux guests, on this machine if its KVM
# can run Linux, else in two emulated hosts whose root is this machine's file tree. TAP; the tests are in
# snapshot-job.sh. $LKVM is the lkvm to test, SNAPSHOT_ROUNDS how often each of most tests saves its guest (2),
# SNAPSHOT_FORKS how many copies there are at once (3), SNAPSHOT_TIMEOUT for how long all may last.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}" SNAPSHOT_ROUNDS=${SNAPSHOT_ROUNDS:-2} SNAPSHOT_FORKS=${SNAPSHOT_FORKS:-3}

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "lkvm snapshot"

# What the job needs is not in /tmp, of which an emulated host has one of its own.
files=$(mktemp -d "$PWD/../../build/snapshot-XXXXXX")
trap 'rm -rf "$work" "$files"' EXIT
./initrd.sh guest "$work/initrd"
for kernel in cloud rt backport; do
	folder=$(./kernels.sh $kernel)
	declare -x "${kernel^^}=$(echo "$folder"/boot/vmlinuz-*)"
	shares=()
	[ $kernel != rt ] || shares=(virtiofs 9p 9pnet_virtio) # cloud has no 9p
	./initrd.sh modules "$work/modules" "$folder" virtio_pci virtio_mmio virtio_blk crc32c_generic ext4 xfs evdev button \
		"${shares[@]}"
	{ gzip -dc "$work/initrd" && cat "$work/modules"; } >"$files/$kernel"
done
export FILES=$files

status=0
./host.sh --auto --hosts "${HOSTS:-2}" --tree --memory 3072 --timeout "${SNAPSHOT_TIMEOUT:-3500}" -- "$PWD/snapshot-job.sh" "$@" || status=$?
exit "$status"
