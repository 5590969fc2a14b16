#!/usr/bin/env bash
# initrd.sh guest OUT                        the guests' initrd: busybox and guest-init, gzip
# initrd.sh modules OUT KERNEL_DIR MODULE... an initrd with these modules and all that they need
# initrd.sh programs OUT PROGRAM|LIBRARY...  an initrd with these and all libraries that they need
# initrd.sh image OUT PROGRAM|LIBRARY...     the same as a disk with an ext4 file system
# initrd.sh host OUT KERNEL_DIR LKVM MODULE...
#                                            the emulated host's: busybox, host-init, lkvm with its
#                                            libraries, and modules; not compressed
#
# An initrd with modules or programs goes behind another one, as a second -i or appended to the same
# file; both inits load what /modules lists. Needs no privilege: devtmpfs makes the device nodes.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

# Libraries that lkvm opens only when it meets a kernel compressed in their way.
optional_libs=(libz.so.1 liblzma.so.5 libzstd.so.1 liblz4.so.1 libbz2.so.1.0 liblzo2.so.2)

# pack FOLDER
pack()
{
	(cd "$1" && find . | LC_ALL=C sort | busybox cpio -o -H newc -R 0:0 2>/dev/null)
}

# add_busybox ROOT INIT
add_busybox()
{
	mkdir -p "$1/bin" "$1/proc" "$1/sys" "$1/dev" "$1/tmp"
	cp "$(command -v busybox)" "$1/bin/busybox"
	ln -s busybox "$1/bin/sh"
	install -m 755 "$2" "$1/init"
}

# Copies modules in the order in which they must be loaded, and lists them in /modules. A name that
# is neither a module nor built in is an error.
# add_modules ROOT KERNEL_DIR MODULE...
add_modules()
{
	local root=$1 kernel=$2 version dep line module
	shift 2
	version=$(basename "$kernel"/lib/modules/*)
	dep=$kernel/lib/modules/$version/modules.dep
	for module; do
		line=$(grep -E -m 1 "(^|/)$module\.ko[^:]*:" "$dep") || {
			grep -q "/$module\.ko" "${dep%.dep}.builtin" && continue
			echo "initrd: $version has no module '$module'" >&2
			return 1
		}
		# "module.ko: first.ko second.ko": the last one needs none of the others
		tr -d : <<<"$line" | tr ' ' '\n' | tac
	done | awk '!seen[$0]++' | while read -r module; do
		add_module "$root" "${dep%/*}/$module"
	done
}

# add_module ROOT FILE
add_module()
{
	local name
	name=$(basename "$2")
	mkdir -p "$1/lib/modules"
	case $2 in
	*.xz) xz -dc "$2" >"$1/lib/modules/${name%.xz}" ;;
	*.zst) zstd -qdc "$2" >"$1/lib/modules/${name%.zst}" ;;
	*) cp "$2" "$1/lib/modules/" ;;
	esac
	echo "/lib/modules/${name%.ko*}.ko" >>"$1/modules"
}

# add_libs ROOT FILE: what FILE is linked with; nothing if it is a static program
add_libs()
{
	local lib
	{ ldd "$2" 2>/dev/null | grep -o '/[^ ]*' || true; } | while read -r lib; do
		[ -e "$1$lib" ] || install -D -m 755 "$lib" "$1$lib"
	done
}

# add_library ROOT NAME: one that programs open by themselves; Return: 1: this system has it not
add_library()
{
	local lib
	lib=$(/sbin/ldconfig -p | awk -v name="$2" '$1 == name && /x86-64/ { print $NF; exit }')
	[ -n "$lib" ] || return
	install -D -m 755 "$lib" "$1$lib"
	add_libs "$1" "$lib"
}

# add_programs ROOT PROGRAM|LIBRARY...
add_programs()
{
	local root=$1 name file
	shift
	for name; do
		if [[ $name == *.so.* ]]; then
			add_library "$root" "$name" && continue
		elif file=$(PATH=$PATH:/usr/sbin:/sbin command -v "$name"); then
			install -D -m 755 "$file" "$root/bin/${name##*/}"
			add_libs "$root" "$file"
			continue
		fi
		echo "initrd: this system has no '$name'" >&2
		return 1
	done
}

# add_lkvm ROOT LKVM
add_lkvm()
{
	local lib
	add_programs "$1" "$2"
	for lib in "${optional_libs[@]}"; do
		add_library "$1" "$lib" || true
	done
}

# make_image ROOT OUT: with room for what is there, and not much more
make_image()
{
	local kb
	kb=$(du -sk "$1" | cut -f1)
	/sbin/mke2fs -q -F -t ext4 -O ^has_journal -d "$1" "$2" $((kb * 5 / 4 + 4096))k >/dev/null
}

usage()
{
	sed -n '2,8s/^# //p' "$0" >&2
	exit 2
}

[ $# -ge 2 ] || usage
kind=$1 out=$2
shift 2
root=$(mktemp -d "${TMPDIR:-/tmp}/lkvm-XXXXXX")
trap 'rm -rf "$root"' EXIT
trap 'exit 1' INT TERM HUP
case $kind in
guest)
	add_busybox "$root" "$here/guest-init"
	install -D -m 644 "$here/guest-virtio" "$root/words/virtio"
	install -D -m 644 "$here/guest-blk" "$root/words/blk"
	install -D -m 644 "$here/guest-memory" "$root/words/memory"
	install -D -m 644 "$here/guest-snapshot" "$root/words/snapshot"
	install -D -m 644 "$here/guest-console" "$root/words/console"
	install -D -m 644 "$here/guest-look" "$root/words/look"
	install -D -m 644 "$here/guest-fs" "$root/words/fs"
	install -D -m 644 "$here/guest-net" "$root/words/net"
	install -D -m 644 "$here/verify.fio" "$root/fio/verify"
	pack "$root" | gzip -9 -n >"$out"
	;;
modules)
	add_modules "$root" "$@"
	pack "$root" >"$out"
	;;
programs)
	add_programs "$root" "$@"
	pack "$root" >"$out"
	;;
image)
	add_programs "$root" "$@"
	make_image "$root" "$out"
	;;
host)
	kernel=$1 lkvm=$2
	shift 2
	add_busybox "$root" "$here/host-init"
	add_lkvm "$root" "$lkvm"
	add_modules "$root" "$kernel" "$@"
	pack "$root" >"$out"
	;;
*) usage ;;
esac
