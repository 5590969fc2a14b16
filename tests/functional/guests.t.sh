#!/usr/bin/env bash
# The guest programs that judge the machine from within: all end well, and say nothing else.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

# More CPUs than the host has get a warning, which is no failure here.
warning="^lkvm: warning: [0-9]+ CPUs are more than this host.s KVM_CAP_NR_VCPUS recommends"

# passes PROGRAM OUTPUT [OPTION]...
passes()
{
	local program=$1 output=$2
	shift 2
	g_run "$program" "$@"
	[ "$t_rc" -eq 1 ] && [ "$(t_stdout)" = "$output" ] && ! t_stderr | grep -Evq "$warning"
	t_report $? "$t_command" "status $t_rc (1 is success)
standard output: $(t_stdout)
standard error: $(t_stderr)"
}

passes unclaimed.bin ''
passes string-io.bin 'string output'
passes pit.bin ''
passes timers.bin ''
passes msr.bin ''
passes serial.bin serial
passes serial-irq.bin x
passes serial-shared.bin ''
passes i8042.bin ''
passes test-device.bin '' --test-device
passes virtio-mmio.bin '' --virtio-transport mmio --no-balloon

# ---- the clock tells the host's UTC ----

before=$(date -u +%s)
g_run rtc.bin
after=$(date -u +%s)
t_status 1
guest=$(date -u -d "$(t_stdout)" +%s)
t_ok "rtc.bin: '$(t_stdout)' is now" test "$guest" -ge "$before" -a "$guest" -le "$after"

# ---- RAM, to the byte ----

for mb in 64 3327 3328 3329 4096; do
	passes ram.mb '' -m $mb -p ram=$mb
done

# ---- processors, and the tables that describe them ----

for cpus in 1 2 8; do
	passes smp.mb '' -c $cpus -p cpus=$cpus
	passes cpuid.mb '' -c $cpus -p cpus=$cpus
	passes acpi.mb '' -c $cpus -p cpus=$cpus
done
passes acpi.mb '' -c 255 -p cpus=255
passes smp.mb '' -c 12,sockets=2,threads=2 -p 'cpus=12 arranged cores=3 threads=2'
passes smp.mb '' -c 6,sockets=3 -p 'cpus=6 arranged cores=2 threads=1'
passes smp.mb '' -c 3,sockets=3 -p 'cpus=3 arranged cores=1 threads=1 wide'
passes cpuid.mb '' -c 6,threads=3 -p 'cpus=6 arranged threads=3'
# More than xAPIC ids tell apart; each takes 20 ms in an emulated host.
many=1024
t_emulated && many=300
passes smp.mb '' -c $many -p "cpus=$many wide"
passes smp.mb '' -c 130,sockets=65 -p 'cpus=130 arranged cores=2 threads=1'
passes smp.mb '' -c 195,sockets=65 -p 'cpus=195 arranged cores=3 threads=1 wide' # their ids end at 258

# ---- what each boot protocol passes ----

for i in 0 1 2; do
	echo "module $i" >"$T_TMP/module$i"
done
passes multiboot.mb '' -m 256 -p mods=0 -p alpha=7
passes multiboot.mb '' -m 256 -p 'mods=1 alpha=7' -i "$T_TMP/module0 arg0"
passes multiboot.mb '' -m 256 -p 'mods=3 alpha=7' -i "$T_TMP/module0 arg0" \
	-i "$T_TMP/module1 arg1" -i "$T_TMP/module2 arg2"
# The same where GDT, stack, zero page and command line usually are: they make way.
passes multiboot.low '' -m 256 -p 'mods=2 alpha=7' -i "$T_TMP/module0 arg0" -i "$T_TMP/module1 arg1"
passes multiboot2.mb2 '' -m 256 -p 'mods=2 alpha=7' -i "$T_TMP/module0 arg0" -i "$T_TMP/module1 arg1"
echo 'initrd' >"$T_TMP/initrd"
passes pvh.pvh '' -m 256 -p alpha=7 -i "$T_TMP/initrd"
echo 'initrd one' >"$T_TMP/one"
echo 'initrd two' >"$T_TMP/two"
passes bzimage.bz '' -m 256 -p alpha=7 -i "$T_TMP/one" -i "$T_TMP/two"

# ---- where kernels and initrds come from ----

passes bzimage.bz '' -m 256 -p alpha=7 -k <(cat "$GUESTS/bzimage.bz") -i <(cat "$T_TMP/one") -i "$T_TMP/two"
mkdir -p "$T_TMP/tree/arch/x86/boot"
cp "$GUESTS/bzimage.bz" "$T_TMP/tree/arch/x86/boot/bzImage"
passes bzimage.bz '' -m 256 -p alpha=7 -k "$T_TMP/tree" -i "$T_TMP/one" -i "$T_TMP/two"
xz --format=lzma <"$GUESTS/multiboot.mb" >"$T_TMP/packed"
passes multiboot.mb '' -m 256 -p 'mods=0 alpha=7' -k "$T_TMP/packed"

# A check that fails must be seen: the same guest with a wrong expectation.
g_run ram.mb -m 64 -p ram=65
t_status 3
t_stdout_like '^tests/guest/ram\.c:[0-9]+: end is 0x4000000, not 0x4100000$'
t_done
