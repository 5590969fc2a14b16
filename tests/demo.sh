#!/usr/bin/env bash
# demo.sh LKVM: `lkvm run` with a kernel of Debian or of this machine, on this machine or, where its KVM cannot
# run Linux, in the emulated host. With a terminal it leads to a shell on this machine's file tree; without
# one it shows the guest's uname and memory map. Status 0 only if the guest got there.
set -euo pipefail
lkvm=$(realpath "$1")
cd "$(dirname "$0")/.."

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
host=(tests/testbed/host.sh --auto --tree --lkvm "$lkvm")
run=("$lkvm" run -m 256 -c 1 -k "$kernel")
if [ -t 0 ] && [ -t 1 ]; then
	echo "demo: ${run[*]}"
	echo "demo: a shell in the guest follows; exit ends it, and Ctrl-a x from outside"
	status=0
	"${host[@]}" --terminal --timeout 86400 -- "${run[@]}" || status=$?
	echo "demo: the shell ended with status $status"
	exit 0
fi
# shellcheck disable=SC2016
run+=(-- sh -c 'uname -a; cat /proc/iomem')
echo "demo: ${run[*]}"
status=0
output=$("${host[@]}" --timeout 300 -- "${run[@]}") || status=$?
echo "$output"
if [ "$status" -ne 0 ] || ! grep -q 'System RAM' <<<"$output"; then
	echo "demo: FAILED (status $status): the guest did not get through" >&2
	exit 1
fi
echo "demo: the guest ran the command and is gone"
