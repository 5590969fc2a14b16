#!/usr/bin/env bash
# dump-long.sh: drgn and crash on dumps of Linux guests, and drgn and gdb on some that run, with the kernels' debug
# information (Debian's package of it is 300 MB; a small kernel is built with its own). The guests run where KVM can run Linux, on this machine or in an emulated host, and
# leave their dumps, which debuggers then look at on this machine. TAP; the tests are in dump-long-job.sh. $LKVM is the lkvm
# to test, DUMP_TIMEOUT for how long the guests may last.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "debuggers on dumps of Linux guests"

files=$(mktemp -d "$PWD/../../build/dump-XXXXXX")
trap 'rm -rf "$work" "$files"' EXIT
./initrd.sh guest "$files/initrd"
CLOUD=$(echo "$(./kernels.sh cloud)"/boot/vmlinuz-*)
VMLINUX=$(echo "$(./kernels.sh debug)"/boot/vmlinux-*)
[ "${VMLINUX##*/vmlinux-}" = "${CLOUD##*/vmlinuz-}" ] || VMLINUX=$(echo "$(./kernels.sh --refresh debug)"/boot/vmlinux-*)
SMALL=$(./small-kernel.sh debug)
export CLOUD VMLINUX SMALL FILES=$files

mkdir "$files/claims"
status=0
echo "1..6"
{
	./host.sh --auto --tree --claims "$files/claims" --memory 3072 --timeout "${DUMP_TIMEOUT:-2400}" -- \
		"$PWD/dump-long-job.sh" live scripts || status=$?
	CLAIMS=$files/claims ./dump-long-job.sh drgn crash smalldrgn smallcrash || status=$?
	exit "$status"
} | sed -u '/^1\.\./d'
