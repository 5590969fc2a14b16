#!/usr/bin/env bash
# `lkvm run --firmware`: files that are none, what does not go with it, a hostile one (tests/guest/firmware.c), and
# SeaBIOS, which boots a disk.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

bios=/usr/share/seabios/bios-256k.bin disk=$T_TMP/disk rom=$GUESTS/firmware.rom
T_LIMIT=120

# unloadable REASON FILE
unloadable()
{
	t_fails 125 "could not load firmware '$2': $1" "$LKVM" run -m 64 -c 1 --firmware "$2"
}

cd "$T_TMP" || exit
: >empty
truncate -s 65535 odd
truncate -s 60K small
truncate -s 65537 uneven
truncate -s 17M large
unloadable 'No such file or directory' missing
unloadable 'not a regular file' /dev/null
unloadable 'it is empty' empty
unloadable 'it is smaller than 64 KiB' odd
unloadable 'it is smaller than 64 KiB' small
unloadable 'its size is no multiple of 4 KiB' uneven
unloadable 'it is larger than 16 MiB' large

# refused WHAT OPTION...
refused()
{
	local what=$1
	shift
	t_fails 125 "--firmware does not go with $what" \
		"$LKVM" run -m 64 -c 1 --firmware "$rom" "$@"
}

refused '--initrd without --kernel' -i "$GUESTS/reset.bin"
refused '--params without --kernel' -p quiet
refused '--nodefaults without --kernel' --nodefaults
refused 'a command' -- true
refused '--virtio-transport mmio' --virtio-transport mmio
refused --test-device --test-device
t_fails 125 "--firmware-vars are those of --firmware" "$LKVM" run -k "$GUESTS/reset.bin" --firmware-vars odd

# ---- a kernel beside it ----

# unkernel MESSAGE OPTION...
unkernel()
{
	local message=$1
	shift
	t_fails 125 "$message" "$LKVM" run -m 64 -c 1 --firmware "$rom" "$@"
}

printf MZ >program
t_fails 125 "firmware '$bios' is a SeaBIOS, which loads no --kernel: it boots what is on a disk" \
	"$LKVM" run -m 64 -c 1 --firmware "$bios" -k program
unkernel "kernel '$GUESTS/reset.bin': is no EFI program, and firmware starts no other" -k "$GUESTS/reset.bin"
unkernel "kernel 'empty': is no EFI program, and firmware starts no other" -k empty
unkernel "kernel 'missing': No such file or directory" -k missing
unkernel "kernel '/dev/null': not a regular file" -k /dev/null
unkernel "initrd 'missing': No such file or directory" -k program -i missing
truncate -s 3G huge
unkernel "initrd 'huge': is too large for firmware" -k program -i huge
unkernel "kernel 'huge': is too large for firmware" -k huge
rm huge

# items FILE...: what the guest sums up of their bytes, as if one stood behind the other
items()
{
	cat "$@" | perl -e 'local $/; my @b = unpack "C*", <STDIN>; my $s = 0; $s += $b[$_] * ($_ + 1) for 0 .. $#b;
		print scalar(@b) . " " . $s % 2**32'
}

perl -e 'print "MZ", "\1" x 0x1ef, "\1", "\2" x 16, "HdrS", "\3" x 4000' >image # one sector beside the first
head -c 1024 image >setup
tail -c +1025 image >rest
printf 'one\n\0\0\0\0' | head -c 5 >first
printf '\0\0\0' >fill
echo two >second
t_run "$LKVM" run --debug-exit -m 128 -c 1 --firmware "$rom" -k image -i first -i second -p one -p 'two three'
t_stdout_like "^setup $(items setup), kernel $(items rest), initrd $(items first fill second), command line .*console=ttyS0.* one two three$"
t_run "$LKVM" run --debug-exit -m 128 -c 1 --firmware "$rom" -k program --nodefaults
t_stdout_like "^setup 0 0, kernel $(items program), initrd 0 0, command line $"
mkdir -p tree/arch/x86/boot
cp image tree/arch/x86/boot/bzImage
t_run "$LKVM" run --debug-exit -m 128 -c 1 --firmware "$rom" -k tree
t_stdout_like "^setup $(items setup), kernel $(items rest), initrd 0 0,"

# ---- a device's option ROM ----

# unread REASON FILE
unread()
{
	t_fails 125 "could not load option ROM '$2': $1" "$LKVM" run -m 64 -c 1 --firmware "$rom" -n "user,rom=$2"
}

unread 'No such file or directory' missing
unread 'not a regular file' /dev/null
unread 'it is no option ROM' empty
unread 'it is no option ROM' program
unread 'it is larger than 16 MiB' large
t_fails 125 "option '--net': rom is for who boots by --firmware" \
	"$LKVM" run -k "$GUESTS/reset.bin" -n "user,rom=missing"

# ---- variables ----

# unusable REASON FILE
unusable()
{
	t_fails 125 "could not open firmware variables '$2': $1" \
		"$LKVM" run -m 64 -c 1 --firmware "$rom" --firmware-vars "$2"
}

unusable 'No such file or directory' missing
unusable 'Is a directory' .
unusable 'not a regular file' /dev/null
unusable 'it is empty' empty
unusable 'its size is no multiple of 4 KiB' odd
truncate -s $((16 * 1024 - 124))K large
unusable 'with the firmware it is larger than 16 MiB' large

perl -e 'print chr($_ % 256) x 256 for 0..511' >vars
cp vars vars.wanted
ones() # OFFSET
{
	perl -e 'print "\xff" x 4096' | dd of=vars.wanted bs=4096 seek=$(($1 / 4096)) conv=notrunc status=none
}
byte() # OFFSET BYTES...
{
	printf %b "$2" | dd of=vars.wanted bs=1 seek=$(($1)) conv=notrunc status=none
}
byte 0x1305 '\x11'
for block in 0x2000 0x1f000 0x4000 0x5000 0x8000; do
	ones $block
done
byte 0x1ffff '\x5a'
perl -e 'print map chr, reverse 0..255' | dd of=vars.wanted bs=1 seek=$((0x4080)) conv=notrunc status=none
byte 0x5009 '\x42'
byte 0x5012 '\x00'
byte 0x5014 '\x00'
byte 0x5016 '\x00'
byte 0x8000 '\xb8\x42\x00\x00\x00\xc3'
t_run "$LKVM" run --debug-exit -m 128 -c 1 --firmware "$GUESTS/flash.rom" --firmware-vars vars
t_status 1
while IFS= read -r line; do
	[[ $line =~ ^[0-9]+\ (.*)\ \.\.\.\ (ok|not ok: .*)$ ]] || continue
	[ "${BASH_REMATCH[2]}" = ok ]
	t_report $? "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
done < <(t_stdout)
t_stdout_like '^15 cases$'
t_ok "the file has what was programmed" cmp vars vars.wanted

# ---- a hostile one ----

t_run "$LKVM" run --debug-exit -m 128 -c 1 --firmware "$rom"
t_status 1
while IFS= read -r line; do
	[[ $line =~ ^[0-9]+\ (.*)\ \.\.\.\ (ok|not ok: .*)$ ]] || continue
	[ "${BASH_REMATCH[2]}" = ok ]
	t_report $? "${BASH_REMATCH[1]}" "${BASH_REMATCH[2]}"
done < <(t_stdout)
t_stdout_like '^61 cases$'
for size in 64K 192K 16M; do # what it checks of a ROM's first half is not there
	truncate -s "$size" padded
	dd if="$rom" of=padded bs=64K skip=1 seek=$(($(stat -c %s padded) / 65536 - 1)) conv=notrunc status=none
	t_run "$LKVM" run --debug-exit -m 128 -c 1 --firmware padded
	t_stdout_like '^61 cases$'
	rm padded
done

# ---- what can be asked of such a guest ----

mkfifo fifo
"$LKVM" run -m 64 -c 1 --name test --firmware "$bios" --firmware-vars vars <fifo >out 2>err &
g_pid=$!
exec 4>fifo
until "$LKVM" list test 2>/dev/null | grep -q running; do
	kill -0 $g_pid 2>/dev/null || break
done
unusable 'another guest uses it' vars
t_run "$LKVM" run -m 64 -c 1 --firmware "$rom" --firmware-vars vars --dry-run
t_status 0
"$LKVM" stop test >/dev/null
wait $g_pid
exec 4>&-

# ---- SeaBIOS ----

seq -f '%015.0f' 0 131071 >"$disk"
dd if="$GUESTS/boot-sector.bin" of="$disk" conv=notrunc status=none
cp "$disk" "$T_TMP/wanted"
dd if="$disk" of="$T_TMP/wanted" bs=512 skip=2 seek=8 count=2 conv=notrunc status=none

for cpus in 1 2; do
	t_run "$LKVM" run --debug-exit -m 128 -c $cpus --firmware "$bios" -d "$disk" --debug device
	t_command="SeaBIOS with $cpus CPUs"
	t_status 1
	t_stderr_like 'Running on QEMU \(i440fx\)'
	t_stderr_like 'Found QEMU fw_cfg'
	t_stderr_like 'QEMU fw_cfg DMA interface supported'
	t_stderr_like "Found $cpus cpu\\(s\\)"
	t_stderr_like 'Booting from Hard Disk'
	t_stdout_like 'SeaBIOS'
	t_ok "the boot sector has read and written" cmp "$disk" "$T_TMP/wanted"
done
t_done
