#!/usr/bin/env bash
# Guests with firmware (`lkvm run --firmware`) are saved in the middle of everything, go on from there as often as wanted,
# and need nothing of what they were started with: tests/guest/saved.c, and SeaBIOS.
# shellcheck source=tests/functional/snapshot.bash
. "${0%/*}/snapshot.bash"

T_LIMIT=120
bios=/usr/share/seabios/bios-256k.bin
stages=(reset half-shadowed shadowed status program erase buffer confirm id selected half-read nothing-selected half-asked
	option-rom)
on=ggggggggggggggg # as many as there are stages, and more

# Of the variables byte n is n / 256 at first; what is to be in them at the end
perl -e 'print chr($_ % 256) x 256 for 0..511' >original
perl -e 'local $/; $_ = <STDIN>; substr($_, 0x1700, 2) = "\x11\x10";
	substr($_, 0x2000, 4096) = "\xff" x 128 . join("", map(chr, 0..15)) . "\xff" x 3952; print' <original >wanted

# An option ROM, and a kernel that firmware is told of
perl -e 'print pack("a2 C x21 v x6", "\x55\xaa", 1, 0x20), pack("a4 V x8 v v C C x2", "PCIR", 0, 1, 1, 0, 0x80), "\7" x 460' >option
printf 'MZ, a program' >efi
printf 'an initrd' >initrd

# start: as guest "test", from files that are gone when others go on
start()
{
	mkdir given
	cp "$GUESTS/saved.rom" given/rom
	cp original given/vars
	cp option efi initrd given
	go_on --debug-exit -c 1 -m 64 --firmware given/rom --firmware-vars given/vars -k given/efi -i given/initrd \
		-p 'one two' -n switch=none,rom=given/option
}

# went_on NAME: it has ended, and all that it says is in $said
went_on()
{
	said=$(timeout 60 cat <&3 | tr -d '\r')
	g_wait
	exec 4>&-
	t_is "$1" "$t_rc $(grep -vE 'KVM_CAP_NR_VCPUS' stderr.test)" '1 '
}

# after STAGE: the first line of who goes on from there
after()
{
	local next
	next=$(printf '%s\n' "${stages[@]}" told | sed -n "/^$1\$/{n;p}")
	[ "$next" = told ] && echo "$told" || echo "at $next"
}

# goes_on STAGE [OPTION]...: who was saved there, to its end
goes_on()
{
	local stage=$1
	shift
	restore "$stage" $on "$@"
	t_status 1
	said=$(tr -d '\r' <"$T_TMP/stdout")
	t_is "$stage: it goes on there" "${said%%$'\n'*}" "$(after "$stage")"
	t_is "$stage: what it was told" "${said##*$'\n'}" "$told"
}

# ---- at each stage ----

start
for stage in "${stages[@]}"; do
	t_ok "it comes to $stage" heard "^at $stage$"
	t_ok "saved at $stage" "$LKVM" snapshot test "$stage"
	case $stage in
	erase)
		t_ok "saved without a copy of its variables" "$LKVM" snapshot test bare --disks none
		t_fails 125 "could not open firmware variables '$T_TMP/given/vars': another guest uses it" \
			"$LKVM" run --restore bare
		;;
	half-read)
		t_run "$LKVM" fork test --count 2
		t_status 0
		;;
	esac
	printf g >&4
done
went_on "it ends well"
told=${said##*$'\n'}
t_like "it has said what it was told" "$told" '^told 0x'
t_ok "its variables are in the file" cmp given/vars wanted
for name in test-1 test-2; do
	t_run "$LKVM" console --lines 9 "$name" < <(printf %s $on)
	t_status 0
	t_stdout_like "^$told.?$"
done
t_is "nothing is left of what they were made from" "$(find "$TMPDIR" -mindepth 1)" ''
t_fails 125 "Firmware variables '$T_TMP/given/vars' changed since the snapshot (it was written); refusing to restore" \
	"$LKVM" run --restore bare
t_is "without a copy: what is saved" "$(ls bare)" "$(printf '%s\n' firmware fw-cfg ram rom0 state)"
t_is "what is saved" "$(ls reset)" "$(printf '%s\n' firmware firmware-vars fw-cfg ram rom0 state)"
t_is "nobody else can read it" "$(stat -c %a reset/* | sort -u)" 600
t_run "$LKVM" snapshot --show reset
t_stdout_like '^\[firmware\]$'
t_stdout_like '^\[fw-cfg0\]$'
t_stdout_like '^\[flash\]$'
rm -r given
before=$(cat reset/* | cksum)
for stage in "${stages[@]}"; do
	goes_on "$stage"
done
t_is "a snapshot stays as it was" "$(cat reset/* | cksum)" "$before"

# ---- what is written then ----

goes_on reset --disks rw
t_ok "it is written to the snapshot's own variables" cmp reset/firmware-vars wanted
t_fails 125 "The disks of snapshot 'reset' were written since (--disks rw); refusing to restore" \
	"$LKVM" run --restore reset

# A restore of a restore, whose variables are in memory alone until then
go_on --restore status
printf gg >&4
t_ok "restored, it comes to erase" heard '^at erase$'
t_ok "restored, it is saved" "$LKVM" snapshot test again --disks none --stop
g_wait
exec 4>&-
rm -r status
mv again erase-2
stages+=(erase-2)
restore erase-2 $on
t_status 1
t_like "and goes on there" "$(t_stdout)" '^at buffer.?$'
t_like "and was told the same" "$(t_stdout)" "^$told.?$"

# Variables that stay where they are
start
t_ok "it comes to reset" heard '^at reset$'
t_ok "saved, and ended" "$LKVM" snapshot test reset --force --disks none --stop
g_wait
exec 4>&-
goes_on reset
t_ok "it goes on with its file" cmp given/vars wanted

# ---- what does not fit, and damage ----

for option in firmware firmware-vars; do
	t_fails 125 "--$option does not go with --restore: the machine is there already" \
		"$LKVM" run --restore erase --$option given/vars
done
restore erase $on -n switch=other
t_status 1
t_stdout_like "^$told.?$"

# damaged MESSAGE FILE COMMAND...: of a copy of what was saved at program, after the command in it
damaged()
{
	local message=$1 file=$2
	shift 2
	rm -rf broken
	cp -r program broken
	(cd broken && "$@" "$file")
	t_fails 125 "$message" "$LKVM" run --restore broken
}

for file in firmware firmware-vars rom0; do
	damaged "snapshot 'broken' is damaged: '$file' is not as long as what it is a copy of" $file truncate -s 4095
	damaged "'broken/$file': No such file or directory" $file rm
done
damaged "snapshot 'broken' is damaged: 'fw-cfg': it is cut short" fw-cfg truncate -s -1
damaged "snapshot 'broken' is damaged: 'fw-cfg': there is something behind the last item" fw-cfg truncate -s +1
damaged "open 'broken/fw-cfg': No such file or directory" fw-cfg rm

# ---- SeaBIOS ----

seq -f '%015.0f' 0 131071 >disk
dd if="$GUESTS/boot-sector.bin" of=disk conv=notrunc status=none
go_on --debug-exit -m 128 -c 1 --firmware "$bios" -d disk
until_true "$LKVM" stat test >/dev/null 2>&1
t_ok "SeaBIOS: saved somewhere" "$LKVM" snapshot test bios --stop
g_wait
exec 4>&-
cp disk wanted
dd if=disk of=wanted bs=512 skip=2 seek=8 count=2 conv=notrunc status=none
restore bios '' --disks rw
t_status 1
t_ok "SeaBIOS: the boot sector has read and written" cmp bios/disk0 wanted
t_done
