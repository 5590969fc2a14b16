#!/usr/bin/env bash
# A virtio driver that is neither Linux's nor ours: SeaBIOS finds the disk on PCI, moves its BAR,
# and boots its first sector, which reads and writes by SeaBIOS's functions.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

bios=/usr/share/seabios/bios.bin disk=$T_TMP/disk

seq -f '%015.0f' 0 131071 >"$disk"
dd if="$GUESTS/boot-sector.bin" of="$disk" conv=notrunc status=none
cp "$disk" "$T_TMP/wanted"
dd if="$disk" of="$T_TMP/wanted" bs=512 skip=2 seek=8 count=2 conv=notrunc status=none

g_run bios.mb -m 128 -i "$bios" -d "$disk" --debug device
t_status 1
t_stderr_like 'SeaBIOS \(version'
t_stderr_like 'pci dev 00:01.0 using modern \(1.0\) virtio mode'
t_stderr_like 'Booting from Hard Disk'
t_ok "the boot sector has read and written" cmp "$disk" "$T_TMP/wanted"
t_done
