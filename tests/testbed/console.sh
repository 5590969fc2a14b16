#!/usr/bin/env bash
# console.sh [TEST...]: Linux's driver on lkvm's virtio console, on this machine if its KVM can run
# Linux, else in two emulated hosts. TAP; the tests are in console-job.sh. $LKVM is the lkvm to test,
# $PTY the program tests/functional/pty.c.
set -euo pipefail
cd "$(dirname "$0")"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "Linux's console driver"

cloud=$(./kernels.sh cloud)
./initrd.sh guest "$work/initrd"
./initrd.sh modules "$work/modules" "$cloud" virtio_pci virtio_mmio virtio_console
./vmlinux.sh "$cloud"/boot/vmlinuz-* "$work/kernel"

files=(--file "${PTY:-../../build/tests/functional/pty}=pty")
for name in initrd modules kernel; do
	files+=(--file "$work/$name")
done
status=0
./host.sh --auto --hosts 2 --memory 2048 --timeout 600 "${files[@]}" \
	--file job.sh console-job.sh "$@" || status=$?
exit "$status"
