#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/linux.sh, where KVM can run Linux: each boots real kernels with lkvm.
# guest-init says what the words of lkvm.test= do.
#
# Every value of each of kernel, -c, -m and way to end is there, not their product.

tests="
check      lkvm check finds this host fit
small      Debian 6.1 cloud as a unified kernel image, 1 CPU, 256 MB, power-off
gap        Debian 6.1 cloud, 2 CPUs, 3328 MB (RAM up to the gap), reboot by way of the firmware
+above4g   Debian 6.1 cloud, 1 CPU, 4096 MB (RAM above the gap), power-off
+generic   Debian 6.1 generic, 1 CPU, 3329 MB, reboot by port 0xcf9
+mptable   Debian 6.1 generic without ACPI: both CPUs by the MP table, halt instead of power-off
backport   Debian 6.12 cloud, 2 CPUs, 4096 MB, power-off
rt         Debian 6.1 rt, 2 CPUs, 256 MB, power button by lkvm stop --graceful
panic      a panic is status 120, and its lines are shown
+pvpanic   a panic that pvpanic reports is status 120, without words, ACPI and APICs too
triple     vmlinux.lzo without a PVH note; a reset by triple fault is status 0
+hwclock   the clock's alarm, and hwclock, which waits for its interrupt
+timeout   --timeout ends a guest with status 124
input      vmlinux.lzo by PVH, a line from a pipe reaches the guest
two        two guests at once: list, pause, resume, stop
memtest    memtest86+ prints on the console
"

. ./job.sh

# What REQUIREMENTS say about -m: where RAM is. 3328 MB fill the space up to the gap at 0xd0000000;
# the rest starts at 4 GB.
# expect_machine NAME CPUS MIB
expect_machine()
{
	local low=$3 high=0 end kb
	[ "$low" -le 3328 ] || low=3328 high=$(($3 - 3328))
	end=$(printf '%08x' $((low * 1048576 - 1)))
	expect_line "$1" "guest: cpus $2"
	expect_line "$1" "guest: ram 00001000-0009fbff"
	expect_line "$1" "guest: ram 00100000-$end"
	expect_line "$1" "guest: zone DMA +\[mem 0x0000000000001000-0x0000000000ffffff\]"
	if [ "$high" -gt 0 ]; then
		expect_line "$1" "guest: zone DMA32 +\[mem 0x0000000001000000-0x00000000ffffffff\]"
		end=$(printf '%09x' $((0x100000000 + high * 1048576 - 1)))
		expect_line "$1" "guest: ram 100000000-$end"
		expect_line "$1" "guest: zone Normal +\[mem 0x0000000100000000-0x0000000$end\]"
	else
		expect_line "$1" "guest: zone DMA32 +\[mem 0x0000000001000000-0x00000000$end\]"
		expect_no_line "$1" "guest: ram [0-9a-f]{9}-.*"
		expect_line "$1" "guest: zone Normal +empty"
	fi
	kb=$(tr -d '\r' <"$1.out" | sed -n 's/^guest: memory \([0-9]*\) kB$/\1/p')
	expect "memory" [ "${kb:-0}" -gt $(($3 * 1024 * 3 / 4)) ]
	expect "memory" [ "${kb:-0}" -le $(($3 * 1024)) ]
}

# machine NAME STATUS END CPUS MIB OPTION...: boot, look at the machine, end in a way
machine()
{
	local name=$1 status=$2 end=$3 cpus=$4 mib=$5
	shift 5
	run "$name" -c "$cpus" -m "$mib" -i initrd -p "quiet lkvm.test=show,$end" "$@" </dev/null
	expect_status "$name" "$status"
	expect_machine "$name" "$cpus" "$mib"
}

test_check() { expect "check" lkvm check; }

test_small()
{
	run small -k uki -c 1 -m 256 </dev/null
	expect_status small 0
	expect_machine small 1 256
}

test_gap() { machine gap 0 reboot 2 3328 -k cloud -p reboot=b; }
test_above4g() { machine above4g 0 poweroff 1 4096 -k cloud; }
test_generic() { machine generic 0 reboot 1 3329 -k generic -p reboot=p; }

test_mptable()
{
	machine mptable 0 poweroff 2 256 -k generic -p acpi=off
	expect "the end" grep -q "guest 'mptable' ended: its kernel has halted" mptable.err
}

test_backport() { machine backport 0 poweroff 2 4096 -k backport; }

test_rt()
{
	start rt -k rt -c 2 -m 256 -i initrd -i rt-modules -p "quiet lkvm.test=show,button,poweroff"
	exec 9>rt.in
	wait_line rt "guest: waiting for the power button"
	expect "stop" lkvm stop --graceful 120 rt
	wait_end rt
	expect_status rt 0
	expect_machine rt 2 256
	expect_line rt "guest: power button"
	expect_line rt "guest: kernel .*-rt-.*"
}

expect_panic()
{
	expect_status "$1" 120
	expect_line "$1" ".*Kernel panic - not syncing: .*"
	expect "report" grep -q "guest '$1' panicked: " "$1.err"
}

test_panic()
{
	run panic -k backport -c 2 -m 256 -i initrd -p "quiet lkvm.test=panic" </dev/null
	expect_panic panic
	run exit -k cloud -c 1 -m 256 -i initrd -p "quiet lkvm.test=exit" </dev/null
	expect_panic exit
	# Words of user space between those of the panic.
	run mixed -k cloud -c 2 -m 256 -i initrd -p "quiet lkvm.test=mixed" </dev/null
	expect_status mixed 120
	expect "report" grep -q "guest 'mixed' panicked: " mixed.err
}

test_pvpanic()
{
	run pvpanic -k cloud -c 1 -m 256 -i initrd -i cloud-modules -p "quiet lkvm.test=panic" </dev/null
	expect_panic pvpanic
	# pvpanic-pci, where neither ACPI nor the console tells anything; and INTA by the PICs
	truncate -s 1M silent.img
	run silent -k cloud -c 1 -m 256 -i initrd -i cloud-modules --no-acpi -d silent.img,serial=disk \
		-p "loglevel=0 nolapic pci=nomsi lkvm.test=readdisks,rng,panic" </dev/null
	expect_status silent 120
	expect_no_line silent ".*Kernel panic.*"
	expect_line silent "guest: disk vda disk 2048 read"
	expect_line silent "guest: rng virtio_rng\.0: 4096 bytes, 256 different ones"
	expect_line silent "guest: interrupt XT-PIC +virtio0"
	expect_line silent "guest: interrupt XT-PIC +virtio1"
}

test_triple()
{
	run triple -k no-notes.lzo --result triple.json -c 1 -m 256 -i initrd -p "quiet reboot=t lkvm.test=reboot" </dev/null
	expect_status triple 0
	expect_line triple ".*reboot: Restarting system"
	expect "its release" grep -q '"kernel_release": "6\.1\.' triple.json
}

test_hwclock()
{
	run hwclock -k cloud -c 2 -m 256 -i initrd -i programs -p "quiet lkvm.test=hwclocks,poweroff" </dev/null
	expect_status hwclock 0
	expect_line hwclock "guest: alarm 1"
	expect_line hwclock "guest: systohc: .*RTC_SET_TIME.* was successful\."
	expect_line hwclock "guest: show: \.\.\.got clock tick"
	expect_no_line hwclock ".*timed out.*"
}

test_timeout()
{
	run timeout -k cloud -c 1 -m 256 -i initrd -p "quiet lkvm.test=wait" --timeout 15 </dev/null
	expect_status timeout 124
}

test_input()
{
	start input -k vmlinux.lzo -c 1 -m 256 -i initrd -p "quiet lkvm.test=show,input,poweroff"
	exec 9>input.in
	wait_line input "guest: type a line"
	echo "a line from the pipe" >&9
	wait_end input
	expect_status input 0
	expect_machine input 1 256
	expect_line input "guest: read <a line from the pipe>"
}

# listed NAME STATE
listed()
{
	lkvm list | grep -qE "^$1[[:space:]].*$2"
}

test_two()
{
	local n
	start clock -k cloud -c 2 -m 256 -i initrd -p "quiet lkvm.test=clock,poweroff"
	exec 9>clock.in
	start other -k backport -c 1 -m 256 -i initrd -p "quiet lkvm.test=wait"
	exec 8>other.in
	wait_line clock "guest: clock [0-9]"
	wait_line other "guest: user space"
	expect "list" listed clock running
	expect "list" listed other running

	expect "pause" lkvm pause clock
	expect "list" listed clock paused
	n=$(lines clock)
	sleep 2
	expect "silence while paused" [ "$(lines clock)" -le $((n + 1)) ] # one line may have been on its way
	expect "stop" lkvm stop other
	wait_end other
	expect_status other 0
	n=$(lines clock)
	expect "resume" lkvm resume clock
	wait_until "the clock after resume" more_lines_than clock $((n + 3))
	echo >&9
	wait_end clock
	expect_status clock 0
	expect_line clock "guest: clock ends after [0-9]+ samples"
	expect_no_line clock "guest: .* went back .*"
}

test_memtest()
{
	start memtest -k memtest -m 256 -c 1 --nodefaults -p "console=ttyS0,115200"
	exec 9>memtest.in
	wait_line memtest "Memtest86"
	# The test itself takes hours. Its first screen shows the memory that it found.
	wait_line memtest "25[0-9]MB|25[0-9] ?M"
	expect "stop" lkvm stop memtest
	wait_end memtest
	expect_status memtest 0
}

run_tests "$@"
