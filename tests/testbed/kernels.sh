#!/usr/bin/env bash
# kernels.sh [--refresh] NAME...: print a folder for each NAME, with its kernel in boot/ and its
# modules in lib/modules/. Debian's packages are downloaded and unpacked once; nothing is installed.
#
#   cloud     what linux-image-cloud-amd64 stands for: virtio and little else, lz4
#   generic   linux-image-amd64: a PC, with MP table support, xz
#   rt        linux-image-rt-amd64: PREEMPT_RT
#   backport  a newer release: 6.12, cloud flavour, zstd
#   debug     of cloud, vmlinux with debug information in boot/
#   memtest   memtest86+
#
# The cache is $LKVM_CACHE, or lkvm/ in $XDG_CACHE_HOME or ~/.cache. A package is unpacked into a
# temporary folder which is renamed at the very end, so what has its final name is complete.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=tests/apt.sh
. "$here/../apt.sh"

cache=${LKVM_CACHE:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/lkvm}

# Large, and nothing that a virtual machine of ours has.
without=(sound drivers/media drivers/net/wireless drivers/net/ethernet drivers/infiniband
	drivers/gpu/drm/amd drivers/gpu/drm/i915 drivers/gpu/drm/nouveau drivers/gpu/drm/radeon)

# What a meta package stands for: the newest kernel of its kind.
depends_of()
{
	apt-cache depends --important "$1" 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }'
}

package_of()
{
	case $1 in
	cloud) depends_of linux-image-cloud-amd64 ;;
	generic) depends_of linux-image-amd64 ;;
	rt) depends_of linux-image-rt-amd64 ;;
	backport)
		apt-cache pkgnames linux-image-6.12. |
			grep -E '^linux-image-6\.12\.[0-9]+[^-]*-cloud-amd64(-unsigned)?$' |
			sed 's/-unsigned$//' | sort -uV | tail -n 1
		;;
	debug) # of the one that is here, which may be older than the newest
		if [ -d "$cache/cloud/boot" ]; then
			echo "$(basename "$(realpath "$cache/cloud")")-dbg"
		else
			echo "$(depends_of linux-image-cloud-amd64)-dbg"
		fi
		;;
	memtest) apt-cache pkgnames memtest86+ | grep -x 'memtest86+' ;;
	*)
		echo "kernels: no such kernel: $1" >&2
		return 2
		;;
	esac
}

# Signed images are made a while after the unsigned ones.
download()
{
	apt-get -qq -o APT::Sandbox::User=root -o Acquire::Retries=3 download "$1" >&2 ||
		apt-get -qq -o APT::Sandbox::User=root download "$1-unsigned" >&2
}

unpack()
{
	local dir=$1 excludes version

	excludes=("${without[@]/#/--exclude=*/kernel/}")
	dpkg-deb --fsys-tarfile ./*.deb |
		tar -x -C "$dir" --no-same-owner "${excludes[@]}" --exclude='./usr/share' || return 1
	[ ! -d "$dir/usr/lib/debug/boot" ] || ln -s usr/lib/debug/boot "$dir/boot"
	if [ ! -d "$dir/lib" ] && [ -d "$dir/usr/lib/modules" ]; then
		ln -s usr/lib "$dir/lib"
	fi
	for version in "$dir"/lib/modules/*/; do
		[ ! -d "$version" ] || busybox depmod -b "$dir" "$(basename "$version")" || return 1
	done
	[ -n "$(ls -A "$dir/boot")" ]
}

# The link NAME -> PACKAGE is what later calls use, without asking apt again.
fetch()
(
	name=$1
	package=$(package_of "$name")
	[ -n "$package" ] || {
		apt_update
		package=$(package_of "$name")
	}
	[ -n "$package" ] || {
		echo "kernels: this system's package lists have no kernel '$name'" >&2
		exit 1
	}
	if [ ! -d "$cache/$package" ]; then
		echo "setup: downloading $package" >&2
		tmp=$(mktemp -d "$cache/.new-XXXXXX")
		trap 'rm -rf "$tmp"' EXIT
		trap 'exit 1' INT TERM HUP
		cd "$tmp"
		download "$package" || { # a list older than the archive
			apt_update
			package=$(package_of "$name")
			download "$package"
		}
		mkdir root
		chmod 755 root
		unpack "$PWD/root" || {
			echo "kernels: $package could not be unpacked" >&2
			exit 1
		}
		# Another process may have been faster: its folder is as good.
		mv -T root "$cache/$package" 2>/dev/null || [ -d "$cache/$package" ]
	fi
	ln -sfn "$package" "$cache/$name.tmp.$$"
	mv -fT "$cache/$name.tmp.$$" "$cache/$name"
)

refresh=0
[ "${1-}" != --refresh ] || { refresh=1 && shift; }
[ $# -gt 0 ] || {
	echo "usage: $0 [--refresh] cloud|generic|rt|backport|debug|memtest ..." >&2
	exit 2
}

mkdir -p "$cache"
for name; do
	if [ "$refresh" -eq 1 ] || [ ! -d "$cache/$name/boot" ]; then
		if ! apt_usable; then
			echo "kernels: no apt-get here; put the kernel '$name' into $cache/$name/boot/vmlinuz-VERSION" >&2
			exit 1
		fi
		fetch "$name"
	fi
	realpath "$cache/$name"
done
