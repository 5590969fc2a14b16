#!/usr/bin/env bash
# demo.sh LKVM: boot a Debian kernel with LKVM, on this machine or, where its KVM cannot run Linux,
# in the emulated host. With a terminal it leads to a shell in the guest; without one it shows the
# guest's uname and memory map and powers off. Status 0 only if the guest reached user space.
set -euo pipefail
lkvm=$(realpath "$1")
cd "$(dirname "$0")/.."

work=$(mktemp -d "${TMPDIR:-/tmp}/lkvm-XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' INT TERM HUP

# The newest kernel of this machine, if we may read it; else one of Debian's.
find_kernel()
{
	local kernel
	while read -r kernel; do
		[ -r "$kernel" ] && [ -s "$kernel" ] && echo "$kernel" && return 0
	done < <(find /boot -maxdepth 1 -name 'vmlinuz-*' 2>/dev/null | sort -rV)
	echo "$(tests/testbed/kernels.sh cloud)"/boot/vmlinuz-*
}

if "$lkvm" check >/dev/null 2>&1; then
	echo "demo: this machine's KVM runs Linux guests: booting on it"
else
	echo "demo: this machine's KVM cannot run Linux guests (see: $1 check); booting in an emulated host, which is slow"
	tests/setup.sh host
fi
kernel=$(find_kernel)
tests/testbed/initrd.sh guest "$work/initrd"
echo "demo: the guest's kernel is $kernel"

args=(--auto --lkvm "$lkvm" --file "$kernel=bzImage" --file "$work/initrd" --timeout 300)
if [ -t 0 ] && [ -t 1 ]; then
	echo "demo: a shell in the guest follows; exit powers it off, Ctrl-a x ends it from outside"
	tests/testbed/host.sh "${args[@]}" --terminal --timeout 86400 tests/demo-job.sh shell
	exit
fi
status=0
tests/testbed/host.sh "${args[@]}" tests/demo-job.sh uname,iomem | tee "$work/output" || status=$?
if [ "$status" -ne 0 ] || ! grep -q '^guest: user space' "$work/output"; then
	echo "demo: FAILED (status $status): the guest did not get through" >&2
	exit 1
fi
echo "demo: the guest reached user space and powered off"
