#!/usr/bin/env bash
# small-kernel.sh NAME: build a small Linux as small.config and small-NAME.config say, and print the path
# of its bzImage. The source is Debian's package linux-source-6.1; the kernel stays in the cache of
# kernels.sh. Takes about five minutes of two CPUs, and 600 MB in the cache of which 2 MB remain. Of a kernel
# with debug information vmlinux stays too, beside its bzImage, with the gdb scripts that it has.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/apt.sh
. "$here/../apt.sh"

package=linux-source-6.1
configs=("$here/small.config" "$here/small-$1.config")
cache=${LKVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/lkvm}

# Folders of which a kernel build wants only the Kconfig files and Makefiles, if this is not their kernel.
without=(sound net/wireless net/mac80211 net/bluetooth net/netfilter fs/xfs fs/btrfs)
for name in crypto iio infiniband media misc mtd net pinctrl scsi soc staging usb; do
	without+=("drivers/$name")
done
case $1 in
screen) without+=(drivers/gpu/drm/{amd,i915,nouveau,radeon,msm}) ;;
*) without+=(drivers/{gpu,input,video}) ;;
esac
for name in alpha arc arm arm64 csky hexagon ia64 loongarch m68k microblaze mips nios2 openrisc parisc \
	powerpc riscv s390 sh sparc xtensa; do
	without+=("arch/$name")
done

# unpack: the sources that matter, into source/
unpack()
{
	local excludes=('--exclude=*/Documentation/?*/*' '--exclude=*/tools/testing' '--exclude=*/tools/perf')
	local folder
	for folder in "${without[@]}"; do
		excludes+=("--exclude=$package/$folder/*.[chS]" "--exclude=$package/$folder/*.dts*")
	done
	mkdir source
	dpkg-deb --fsys-tarfile ./*.deb | tar -xO "./usr/src/$package.tar.xz" | xz -dc |
		tar -x -C source --strip-components=1 --no-same-owner "${excludes[@]}"
}

# Linux's ACPI wants to serve the PCI configuration space, which a kernel without PCI has not, and gives
# up all of ACPI for it. Without this line it does not want to.
mend()
{
	sed -i '/^\tACPI_ADR_SPACE_PCI_CONFIG,$/d' source/drivers/acpi/acpica/evhandler.c
}

# An option that this Linux has not, or that needs others, is silently off.
configure()
{
	local line
	cat "${configs[@]}" >wanted
	make -s -C source O="$PWD/build" KCONFIG_ALLCONFIG="$PWD/wanted" allnoconfig
	while read -r line; do
		grep -qxF "$line" build/.config || {
			echo "small-kernel: this one does not take $line" >&2
			return 1
		}
	done < <(grep '^CONFIG_' wanted)
}

# vmlinux, and beside it what gdb reads with it, by the names that it has in a build tree
debug_files()
{
	mv build/vmlinux root/boot
	cp -L build/vmlinux-gdb.py root/boot
	mkdir -p root/boot/scripts
	cp -rL build/scripts/gdb root/boot/scripts
}

build()
(
	tmp=$(mktemp -d "$cache/.new-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
	trap 'exit 1' INT TERM HUP
	cd "$tmp"
	echo "setup: downloading $package and building a kernel from it" >&2
	apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download "$package" >&2
	unpack
	mend
	configure
	targets=(bzImage)
	! grep -qx CONFIG_GDB_SCRIPTS=y build/.config || targets+=(scripts_gdb)
	make -s -C source O="$PWD/build" "-j$(nproc)" "${targets[@]}"
	mkdir -p root/boot
	chmod 755 root
	mv build/arch/x86/boot/bzImage root/boot/vmlinuz
	[ ! -e build/vmlinux-gdb.py ] || debug_files
	# Another process may have been faster: its kernel is as good.
	mv -T root "$folder" 2>/dev/null || [ -d "$folder" ]
)

version=$(apt_version "$package")
folder=$cache/small-$(cat "$0" "${configs[@]}" - <<<"$version" | sha256sum | cut -c 1-16)
if [ ! -d "$folder" ]; then
	mkdir -p "$cache"
	build >&2
fi
echo "$folder/boot/vmlinuz"
