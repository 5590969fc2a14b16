#!/usr/bin/env bash
# lkvm run -- CMD: what is found out before a guest is started. With real guests: tests/testbed/session.sh.
# shellcheck source=tests/functional/lib.sh
. "${0%/*}/lib.sh"

# A bzImage as far as its release, below a folder that has modules for it
release=6.1.0-fake
mkdir -p "$T_TMP/boot" "$T_TMP/lib/modules/$release"
image=$T_TMP/boot/vmlinuz
{
	head -c $((0x202)) /dev/zero
	printf 'HdrS\x0f\x02'
	head -c $((0x20e - 0x208)) /dev/zero
	printf '\x00\x01' # the release stands at 0x200 + 0x100
	head -c $((0x300 - 0x210)) /dev/zero
	printf '%s\0' "$release (nobody) #1"
	head -c 4096 /dev/zero
} >"$image"
modules=$T_TMP/lib/modules/$release

# built_in NAME...: the kernel has these, and no module
built_in()
{
	: >"$modules/modules.order"
	printf 'kernel/%s.ko\n' "$@" >"$modules/modules.builtin"
}

# lacks TEXT [OPTION]...: said by name, before anything is made
lacks()
{
	local text=$1
	shift
	t_fails 125 "kernel '$image' has no $text" "$LKVM" run -m 64 -c 1 -k "$image" "$@" -- true
}

built_in other
lacks "driver for the bus of lkvm's devices"
built_in virtio_pci
lacks "driver for the bus of lkvm's devices" --virtio-transport mmio
lacks "virtio-fs and no 9p: it cannot use the host's files"
built_in virtio_pci 9p
lacks "virtio-fs and no 9p: it cannot use the host's files"
built_in virtio_pci 9p 9pnet_virtio
lacks "overlay file system: the root could not be written"
built_in virtio_pci virtiofs
lacks "overlay file system: the root could not be written"
built_in virtio_pci virtiofs overlay
lacks "virtio console: it cannot be given a command"
built_in virtio_pci virtiofs overlay virtio_console
truncate -s 1M "$T_TMP/disk"
lacks "virtio block driver: it cannot use disks" -d "$T_TMP/disk"

# A root on a disk needs no files of the host, unless one of its folders is shared.
built_in virtio_pci overlay virtio_console
lacks "virtio block driver: it cannot use disks" --root "$T_TMP/disk,ro=off"
lacks "virtio-fs and no 9p: it cannot use the host's files" --root "$T_TMP/disk" --ro /etc
t_fails 125 "option '--root': '/nowhere,ro': No such file or directory" "$LKVM" run --root /nowhere,ro -k "$image" -- true
t_fails 125 "option '--root': '/etc' comes behind an image" "$LKVM" run --root "$T_TMP/disk" --root /etc -k "$image" -- true

# A kernel alone is a session too; not if it has something to boot into.
built_in other
t_fails 125 "kernel '$image' has no driver for the bus of lkvm's devices" "$LKVM" run -m 64 -c 1 "$image"
for root in '-p root=/dev/vda' '-p quiet -p rdinit=/x' "-i $T_TMP/disk" "-d $T_TMP/disk" --nodefaults; do
	# shellcheck disable=SC2086
	t_run "$LKVM" run --dry-run -m 64 -c 1 -k "$image" $root
	t_is "no session with ${root% *}" "$(grep -c 'has no driver for the bus' "$T_TMP/stderr")" 0
done
t_is 'nothing is left behind' "$(ls "$LKVM_DIR" 2>/dev/null)" ''

t_done
