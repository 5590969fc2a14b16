#!/usr/bin/env bash
# debian-disk.sh: print a folder with a Debian 13 in it, which debootstrap makes once. Beside it, with .disk behind its name, is
# an image of it, arranged as Debian's cloud images (nocloud) are: a GPT, in which the root is the first partition, ext4, and an EFI
# system partition the fifteenth, with GRUB as EFI/BOOT/BOOTX64.EFI. Nothing in it knows of lkvm. It has systemd, udev, sshd
# and the cloud kernel. Needs root or sudo, as debootstrap does.
#
# The folder is in the cache of kernels.sh. LKVM_DEBIAN_MIRROR: where its packages come from.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/apt.sh
. "$here/../apt.sh"

folder=${LKVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/lkvm}/debian-13
packages=systemd-sysv,udev,dbus,iproute2,openssh-server,openssh-client,initramfs-tools,zstd,linux-image-cloud-amd64
sector_mib=2048
esp_first=1 esp_mib=124 root_first=125 root_mib=1024

make_tree()
{
	echo "setup: debootstrap makes a Debian 13" >&2
	apt_quiet apt_root debootstrap --variant=minbase --include="$packages" trixie "$1" \
		"${LKVM_DEBIAN_MIRROR:-http://deb.debian.org/debian}" || return
	# shellcheck disable=SC2016 # the inner shell is to expand it
	apt_root sh -c 'cd "$0" && rm -rf var/cache/apt/archives/*.deb var/lib/apt/lists/* &&
		echo "LABEL=root / ext4 defaults 0 1" >etc/fstab && echo debian-13 >etc/hostname && : >etc/machine-id &&
		ln -s "$(cd boot && echo vmlinuz-*)" boot/vmlinuz && ln -s "$(cd boot && echo initrd.img-*)" boot/initrd.img &&
		mkdir -p boot/grub && printf "%s\n" \
			"linux /boot/vmlinuz root=LABEL=root ro console=tty0 console=ttyS0,115200" \
			"initrd /boot/initrd.img" boot >boot/grub/grub.cfg' "$1"
}

# make_disk DISK
make_disk()
{
	local esp=$1@@${esp_first}M
	truncate -s $(((root_first + root_mib + 1) * sector_mib * 512)) "$1"
	printf '%s\n' 'label: gpt' \
		"1 : start=$((root_first * sector_mib)), size=$((root_mib * sector_mib)), type=4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709" \
		"15 : start=$((esp_first * sector_mib)), size=$((esp_mib * sector_mib)), type=U" | /sbin/sfdisk -q "$1"
	# shellcheck disable=SC2016 # GRUB is to expand it
	printf '%s\n' 'search --label root --set root' 'configfile ($root)/boot/grub/grub.cfg' >"$new/grub.cfg"
	grub-mkimage -O x86_64-efi -o "$new/boot.efi" -p /boot/grub -c "$new/grub.cfg" \
		part_gpt fat ext2 search search_label configfile linux boot normal
	mformat -i "$esp" -F -T $((esp_mib * sector_mib)) -h 255 -s 63 -H $((esp_first * sector_mib)) ::
	mmd -i "$esp" ::EFI ::EFI/BOOT
	mcopy -i "$esp" "$new/boot.efi" ::EFI/BOOT/BOOTX64.EFI
	truncate -s ${root_mib}M "$new/root"
	apt_quiet apt_root /sbin/mke2fs -q -F -t ext4 -L root -d "$folder" "$new/root"
	dd if="$new/root" of="$1" bs=1M seek=$root_first conv=notrunc,sparse status=none
}

# make MAKER PATH: what has that name is complete; another process may be faster, and its is as good
make()
{
	[ ! -e "$2" ] || return 0
	mkdir -p "${folder%/*}"
	new=$(mktemp -d "${folder%/*}/.new-XXXXXX")
	trap 'apt_root rm -rf "$new"' EXIT
	trap 'exit 1' INT TERM HUP
	chmod 755 "$new"
	"$1" "$new/made"
	mv -T "$new/made" "$2" 2>/dev/null || [ -e "$2" ]
	apt_root rm -rf "$new"
}

make make_tree "$folder"
make make_disk "$folder.disk"
echo "$folder"
