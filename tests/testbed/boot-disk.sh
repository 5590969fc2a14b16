#!/usr/bin/env bash
# boot-disk.sh syslinux OUT KERNEL INITRD CMDLINE   a disk whose boot sector leads to SYSLINUX, on a FAT partition
# boot-disk.sh grub OUT KERNEL INITRD CMDLINE       to GRUB, behind the boot sector; ext4
# boot-disk.sh efi OUT KERNEL INITRD CMDLINE        with an EFI system partition, where GRUB is; FAT
# boot-disk.sh uki OUT KERNEL INITRD CMDLINE        likewise; a unified kernel image with systemd's stub is all there is
#
# Disks that firmware boots, both with a table of one partition. Needs no privilege.
set -euo pipefail
kind=$1 out=$2 kernel=$3 initrd=$4 cmdline=$5
first=2048 # sectors: 1 MiB, before which a boot loader has room
sectors=$((96 * 2048))

work=$(mktemp -d "${TMPDIR:-/tmp}/lkvm-XXXXXX")
trap 'rm -rf "$work"' EXIT

le32() # NUMBER, as printf's %b wants it
{
	printf '\\x%02x\\x%02x\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

# put OFFSET ESCAPES: bytes into the disk
put()
{
	printf %b "$2" | dd of="$out" bs=1 seek="$1" conv=notrunc status=none
}

# partition TYPE: active, from $first to the end
partition()
{
	rm -f "$out"
	truncate -s $(((first + sectors) * 512)) "$out"
	put 446 "\\x80\\xfe\\xff\\xff\\x$1\\xfe\\xff\\xff$(le32 $first)$(le32 $sectors)"
	put 510 '\x55\xaa'
}

# format TYPE: the partition, FAT
format()
{
	partition "$1"
	mformat -i "$out@@1M" -F -T $sectors -h 255 -s 63 -H $first ::
}

# make_fat TYPE: likewise, with kernel and initrd
make_fat()
{
	format "$1"
	mcopy -i "$out@@1M" "$kernel" ::kernel
	mcopy -i "$out@@1M" "$initrd" ::initrd
}

make_syslinux()
{
	make_fat 0c
	dd if=/usr/lib/syslinux/mbr/mbr.bin of="$out" bs=440 count=1 conv=notrunc status=none
	printf '%s\n' 'SERIAL 0 115200' 'DEFAULT linux' 'PROMPT 0' 'LABEL linux' ' LINUX kernel' ' INITRD initrd' \
		" APPEND $cmdline" >"$work/syslinux.cfg"
	mcopy -i "$out@@1M" "$work/syslinux.cfg" ::
	syslinux --offset $((first * 512)) --install "$out"
}

make_efi()
{
	make_fat ef
	printf '%s\n' "linux (\$root)/kernel $cmdline" 'initrd ($root)/initrd' boot >"$work/grub.cfg"
	grub-mkimage -O x86_64-efi -o "$work/boot.efi" -p / -c "$work/grub.cfg" part_msdos fat linux boot
	put_efi
}

make_uki()
{
	format ef
	"$(dirname "$0")/uki.sh" "$kernel" "$initrd" "$cmdline" "$work/boot.efi" /usr/lib/systemd/boot/efi/linuxx64.efi.stub
	put_efi
}

# put_efi: where EFI looks for a program if it knows of no other
put_efi()
{
	mmd -i "$out@@1M" ::EFI ::EFI/BOOT
	mcopy -i "$out@@1M" "$work/boot.efi" ::EFI/BOOT/BOOTX64.EFI
}

# Its first sector has, at 92, where the rest is; the rest's first, at 500, a list of where the others are.
make_grub()
{
	local core=$work/core n
	partition 83
	mkdir "$work/root"
	cp "$kernel" "$work/root/kernel"
	cp "$initrd" "$work/root/initrd"
	truncate -s $((sectors * 512)) "$work/fs"
	/sbin/mke2fs -q -F -t ext4 -d "$work/root" "$work/fs"
	dd if="$work/fs" of="$out" bs=512 seek=$first conv=notrunc,sparse status=none
	printf '%s\n' 'serial --unit=0 --speed=115200' 'terminal_output serial' \
		"linux (hd0,msdos1)/kernel $cmdline" 'initrd (hd0,msdos1)/initrd' boot >"$work/grub.cfg"
	grub-mkimage -O i386-pc -o "$core" -p / -c "$work/grub.cfg" biosdisk part_msdos ext2 serial terminal linux boot
	n=$((($(stat -c %s "$core") + 511) / 512))
	dd if=/usr/lib/grub/i386-pc/boot.img of="$out" bs=440 count=1 conv=notrunc status=none
	dd if="$core" of="$out" bs=512 seek=1 conv=notrunc status=none
	put 92 "$(le32 1)$(le32 0)"
	put $((512 + 500)) "$(le32 2)$(le32 0)\\x$(printf %02x $(((n - 1) & 255)))\\x$(printf %02x $((n - 1 >> 8)))"
}

"make_$kind"
