#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/firmware.sh, where KVM can run Linux. guest-init says what the words of lkvm.test= do.

tests="
syslinux   SeaBIOS, SYSLINUX, Debian 6.1 cloud: 1 CPU, 256 MB, power-off
grub       SeaBIOS, GRUB, Debian 6.1 cloud: 2 CPUs, 3584 MB, reboot
saved      SeaBIOS, SYSLINUX, Debian 6.1 cloud: 2 CPUs, saved in iPXE's ROM, in the boot loader and in user space, and goes on
screen     SeaBIOS, SYSLINUX, Debian 6.1 cloud, which has no driver for it: text on the screen
ipxe       SeaBIOS, iPXE on the network device, a kernel by TFTP: 1 CPU, 512 MB, power-off
"

. ./job.sh

# What was found by the firmware's tables: CPUs, memory, and BARs where the firmware has put them
# expect_machine NAME CPUS LAST-OF-LOW-RAM
expect_machine()
{
	expect_line "$1" "guest: cpus $2"
	expect_line "$1" "guest: ram 00100000-$3"
	expect_no_line "$1" "guest: bars .*(can't claim|bogus).*"
	expect_line "$1" "guest: bars shown"
}

test_syslinux()
{
	run syslinux -c 1 -m 256 --firmware bios-256k.bin -d syslinux.disk </dev/null
	expect_status syslinux 0
	expect_line syslinux "SYSLINUX 6\..*"
	expect_machine syslinux 1 0fff[0-9a-f]*
}

test_grub()
{
	run grub -c 2 -m 3584 --firmware bios-256k.bin -d grub.disk </dev/null
	expect_status grub 0
	expect_machine grub 2 cfff[0-9a-f]*
	expect_line grub "guest: ram 100000000-10fffffff"
}

test_saved()
{
	local at
	start saved -c 2 -m 256 --firmware bios-256k.bin -d saved.disk -n user,rom=pxe-virtio.rom
	exec 9>saved.in
	wait_line saved "iPXE"
	save saved rom
	wait_line saved "SYSLINUX 6"
	save saved loader
	wait_line saved "guest: type a line"
	save saved linux --stop
	wait_end saved
	goes_on from-rom rom "guest: type a line"
	goes_on from-loader loader "guest: type a line"
	goes_on from-linux linux
	for at in rom loader linux; do
		expect_machine "from-$at" 2 0fff[0-9a-f]*
	done
}

# A black screen of 1024x768 takes 2400 bytes. That kernel has nothing that draws on it.
test_screen()
{
	start screen -c 1 -m 256 --firmware bios-256k.bin -d saved.disk --gpu
	exec 9>screen.in
	wait_line screen "SYSLINUX 6"
	expect "a picture" timeout 60 lkvm screenshot screen loader.png
	expect "loader.png has text" [ "$(wc -c <loader.png)" -gt 3500 ]
	wait_line screen "guest: type a line"
	expect "another one" timeout 60 lkvm screenshot screen linux.png
	echo text >&9
	wait_end screen
	expect_status screen 0
	expect_machine screen 1 0f[bcde][0-9a-f]*
}

test_ipxe()
{
	mkdir boot
	cp cloud initrd boot
	cat >boot/boot.ipxe <<-END
		#!ipxe
		kernel tftp://10.0.2.2/cloud console=ttyS0 quiet lkvm.test=show,bars,poweroff
		initrd tftp://10.0.2.2/initrd
		boot
	END
	run ipxe -c 1 -m 512 --firmware bios-256k.bin -n user,rom=pxe-virtio.rom,tftp=boot,bootfile=boot.ipxe </dev/null
	expect_status ipxe 0
	expect_machine ipxe 1 1fff[0-9a-f]*
}

run_tests "$@"
