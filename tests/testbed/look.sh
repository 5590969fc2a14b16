#!/usr/bin/env bash
# look.sh [TEST...]: what lkvm sees of a Linux guest from outside: `lkvm dmesg`, `lkvm debug --backtrace`, the report of
# a run that hung, on this machine if its KVM can run Linux, else in two emulated hosts whose root is this machine's file
# tree. TAP; the tests are in look-job.sh. $LKVM is the lkvm to test, HOSTS the number of hosts, LOOK_TIMEOUT for
# how long all may last.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "looking into Linux guests"

# What the job needs is not in /tmp, of which an emulated host has one of its own.
files=$(mktemp -d "$PWD/../../build/look-XXXXXX")
trap 'rm -rf "$work" "$files"' EXIT
./initrd.sh guest "$files/initrd"
for kernel in cloud generic rt backport; do
	folder=$(./kernels.sh $kernel)
	declare -x "${kernel^^}=$(echo "$folder"/boot/vmlinuz-*)"
done
export FILES=$files

# Modules that hang the kernel, out of one that it has: no compiler and no headers are needed. Without its last line it
# is not signed any more.
cloud=$(./kernels.sh cloud)
libcrc32c=$(find "$cloud/lib/modules" -name libcrc32c.ko)
ring=$(find "$cloud/lib/modules" -name virtio_ring.ko)
section=$(readelf -SW "$libcrc32c" | sed 's/^ *\[ *[0-9]*\]//' | awk '$1 == ".init.text" { print $4 }')
init=$((0x$section + 0x$(readelf -sW "$libcrc32c" | awk '$8 == "init_module" { print $2 }')))
mkdir "$work/modules"
cd "$work/modules"
head -c -28 "$libcrc32c" | tee spin.ko >lock.ko

# poke FILE OFFSET BYTES: as printf's %b has them
poke() { printf %b "$3" | dd of="$1" bs=1 seek=$(($2)) conv=notrunc status=none; }

# cli; 1: pause; jmp 1b
poke spin.ko "$init" '\0372\0363\0220\0353\0374'

# cli; 1: lea tfm, %rdi; call _raw_spin_lock; jmp 1b: tfm is 0, a lock that nobody has. What is to be linked has to stay
# where it is: "mov %rax, tfm" at 0x18, and at 0xb the call, of another function by its name among the symbols' and by
# its version (8 bytes, and 56 for the name), which another module has.
poke lock.ko "$init" '\0372\0353\0025'
poke lock.ko $((init + 0x10)) '\0353\0006'
poke lock.ko $((init + 0x18)) '\0110\0215\0075'
poke lock.ko $((init + 0x1f)) '\0353\0352'
read -r version name < <(grep -abo crypto_alloc_shash lock.ko | cut -d: -f1 | paste -s -d ' ')
locks=$(LC_ALL=C grep -abo -P '_raw_spin_lock\0' "$ring" | head -n 1 | cut -d: -f1)
poke lock.ko "$name" '_raw_spin_lock\0'
dd if="$ring" of=lock.ko bs=1 skip=$((locks - 8)) seek=$((version - 8)) count=64 conv=notrunc status=none
printf '%s\n' spin.ko lock.ko | busybox cpio -o -H newc 2>/dev/null >"$files/modules"
cd "$OLDPWD"
./initrd.sh modules "$files/disk" "$cloud" virtio_pci virtio_blk

status=0
./host.sh --auto --hosts "${HOSTS:-2}" --tree --memory 1536 --timeout "${LOOK_TIMEOUT:-1800}" -- "$PWD/look-job.sh" "$@" || status=$?
exit "$status"
