#!/usr/bin/env bash
# uki.sh KERNEL INITRD CMDLINE OUT [STUB]: make a unified kernel image, as systemd's ukify does it, around this EFI program,
# or one that only returns.
set -euo pipefail

kernel=$1 initrd=$2 out=$4
work=$(mktemp -d "${TMPDIR:-/tmp}/lkvm-XXXXXX")
trap 'rm -rf "$work"' EXIT
printf %s "$3" >"$work/cmdline"
stub=${5-$work/stub}
[ $# -eq 5 ] || {
	echo 'long efi_main(void) { return 0; }' |
		gcc -x c -ffreestanding -fno-asynchronous-unwind-tables -fno-ident -c -o "$work/stub.o" -
	ld -m i386pep --subsystem 10 --image-base 0 -e efi_main -o "$stub" "$work/stub.o"
}
objcopy --add-section .cmdline="$work/cmdline" --change-section-vma .cmdline=0x30000 \
	--add-section .linux="$kernel" --change-section-vma .linux=0x2000000 \
	--add-section .initrd="$initrd" --change-section-vma .initrd=0x8000000 "$stub" "$out"
