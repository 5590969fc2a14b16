#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/small.sh, where KVM can run Linux: kernels that lack PCI or ACPI find their
# virtio devices in other ways, and one without a GPU's driver shows what it says.

tests="
acpi       found by ACPI; power-off by ACPI
cmdline    found on the command line, CPUs by the MP table; reboot
tree       found by the device tree, CPUs too; reboot
console    hvc0, found by the device tree
both       found on the command line, although there is no ACPI either
pci        devices on PCI, a kernel without ACPI that takes the device tree
screen     what the kernel says as it starts, on a frame buffer (simpledrm)
"

. ./job.sh

# boot NAME WORDS OPTION...: $kernel to its end by WORDS
kernel=nopci
boot()
{
	local name=$1 words=$2
	shift 2
	truncate -s 1M "$name.img"
	run "$name" -k $kernel -i initrd -m 128 -c 2 -d "$name.img,serial=disk" \
		-p "quiet lkvm.test=$words" "$@" </dev/null
	expect_status "$name" 0
	expect_line "$name" "guest: cpus 2"
}

# expect_devices NAME: the entropy device, the disk and the serial port work
expect_devices()
{
	expect_line "$1" "guest: rng virtio_rng\.0: 4096 bytes, 256 different ones"
	expect_line "$1" "guest: rng interrupts"
	expect_line "$1" "guest: serial interrupts"
	expect_line "$1" "guest: write disk: good"
	expect_line "$1" "guest: read disk: good"
	expect_line "$1" "guest: pattern $(head -c 720896 "$1.img" | sha256sum | cut -d' ' -f1)"
}

# expect_interrupts NAME RNG DISK: their pins
expect_interrupts()
{
	expect_line "$1" "guest: interrupt +IO-APIC +$2-edge +virtio[01]"
	expect_line "$1" "guest: interrupt +IO-APIC +$3-edge +virtio[01]"
}

words=show,devices,rng,pattern,ephemeral:disk

test_acpi()
{
	boot acpi $words,serial,poweroff --virtio-transport mmio
	expect_devices acpi
	expect_interrupts acpi 16 17
	expect_no_line acpi "guest: warning: .*(Error|Exception|Warning|bug).*"
}

test_cmdline()
{
	boot cmdline $words,serial,reboot --virtio-transport mmio,cmdline -p acpi=off
	expect_devices cmdline
	expect_interrupts cmdline 5 10
	expect_no_line cmdline "guest: warning: .*"
}

test_tree()
{
	boot tree $words,serial,reboot --virtio-transport mmio --no-acpi
	expect_devices tree
	expect_interrupts tree 16 17
}

test_console()
{
	boot console show,consoles,reboot --virtio-transport mmio --no-acpi --console virtio
	expect_line console "guest: console hvc0"
}

test_both()
{
	boot both $words,serial,reboot --virtio-transport mmio,cmdline --no-acpi
	expect_devices both
	expect_interrupts both 5 10
}

# Linux routes INTx by a device tree on one board only, so without MSI there would be no interrupts.
test_pci()
{
	kernel=noacpi
	boot pci $words,serial,reboot --no-acpi
	expect_devices pci
	expect_line pci "guest: interrupt +PCI-MSI +[0-9]+-edge +virtio[01]-input"
	expect_line pci "guest: interrupt +PCI-MSI +[0-9]+-edge +virtio[01]-req\.0"
}

# A black picture of that size has less than 1000 bytes.
shows_text() { ended screen || { lkvm screenshot screen boot.png && [ "$(wc -c <boot.png)" -gt 8000 ]; }; }

test_screen()
{
	start screen -k screen -i initrd -m 128 -c 1 --gpu=640x480 -p "console=tty0 console=ttyS0 lkvm.test=line:end,poweroff"
	exec 9>screen.in
	wait_line screen "guest: waits for end"
	expect_line screen ".*simple-framebuffer.*simpledrm.*"
	wait_until "text on the screen" shows_text
	expect "it runs" lkvm screenshot screen boot.png
	echo end >&9
	wait_end screen
	expect_status screen 0
}

run_tests "$@"
