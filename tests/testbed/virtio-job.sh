#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/virtio.sh, where KVM can run Linux: Linux's drivers on our devices.
# guest-virtio says what the words of lkvm.test= do. To add a device: a word there, a test here, and
# its module in virtio.sh.

tests="
msix       entropy on PCI: MSI-X, drivers unbound and bound (Debian 6.1 cloud)
+intx      entropy on PCI: INTA (pci=nomsi)
mptable    entropy on PCI: INTA by the MP table, the BAR where the guest wants it (Debian 6.1 generic)
+backport  entropy on PCI: MSI-X (Debian 6.12 cloud)
+mmio      entropy on MMIO (Debian 6.1 cloud)
mmiopacked entropy on MMIO: packed ring, pci=off (Debian 6.12 cloud)
+packed    entropy on PCI, packed ring
+disks     40 disks on PCI, in order (Debian 6.1 cloud)
none       --rng=off --no-balloon
"

. ./job.sh

# boot NAME KERNEL WORDS OPTION...: to its end by WORDS, with the virtio modules of its kernel
boot()
{
	local name=$1 kernel=$2 words=$3
	shift 3
	run "$name" -k "$kernel" -i initrd -i "$kernel-modules" -m 256 -p "quiet lkvm.test=$words" \
		"$@" </dev/null
	expect_status "$name" 0
	expect_no_line "$name" "guest: warning:.*"
}

# expect_rng NAME INTERRUPT: on PCI; the interrupt as shown in /proc/interrupts
expect_rng()
{
	expect_line "$1" "guest: pci 0000:00:01\.0 0x1af4 0x1044 0x00ff00"
	expect_any_rng "$@"
}

# expect_any_rng NAME INTERRUPT: the same, wherever it is
expect_any_rng()
{
	expect_line "$1" "guest: virtio 0x0004 virtio_rng"
	expect_line "$1" "guest: rng virtio_rng\.0: 4096 bytes, 256 different ones"
	expect_line "$1" "guest: rng interrupts"
	expect_line "$1" "guest: interrupt +$2"
}

expect_rebound()
{
	expect_line "$1" "guest: rebound virtio0"
	expect_line "$1" "guest: rebound 0000:00:01\.0"
	expect "random numbers after that" [ "$(grep -c '^guest: rng .* 256 different' "$1.out")" -eq 2 ]
}

test_msix()
{
	boot msix cloud devices,rng,rebind,rng,poweroff -c 2
	expect_rng msix "PCI-MSI .*virtio0-input"
	expect_line msix "guest: PCI: MMCONFIG at .* reserved in ACPI motherboard resources"
	expect_rebound msix
}

test_intx()
{
	boot intx cloud devices,rng,rebind,rng,poweroff -c 1 -p pci=nomsi
	expect_rng intx "IO-APIC +17-fasteoi +virtio0"
	expect_rebound intx
}

test_mptable()
{
	boot mptable generic devices,rng,iomem,poweroff -c 2 -p "pci=noacpi pci=nomsi"
	# Linux finds that ACPI has the usual place, so it moves the BAR behind all that it knows.
	expect_line mptable " *[0-9a-f]{9,}-[0-9a-f]{9,} : 0000:00:01\.0" # above 4 GB
	expect_rng mptable "IO-APIC +17-fasteoi +virtio0"
}

test_backport()
{
	boot backport backport devices,rng,poweroff -c 2
	expect_rng backport "PCI-MSIX?.*virtio0-input"
	# Linux looks no further where the BIOS of SMBIOS is of 2016 or later.
	expect_line backport "guest: PCI: ECAM \[mem 0xe0000000-0xe00fffff\] \(base 0xe0000000\) for domain 0000 \[bus 00-00\]"
}

test_mmio()
{
	boot mmio cloud devices,rng,rebind,rng,poweroff -c 2 --virtio-transport mmio
	expect_any_rng mmio "IO-APIC +16-edge +virtio0"
	expect_no_line mmio "guest: pci .*"
	expect_line mmio "guest: rebound virtio0"
}

test_mmiopacked()
{
	boot mmiopacked backport devices,rings,rng,poweroff -c 1 --virtio-transport mmio \
		--rng=packed -p pci=off
	expect_any_rng mmiopacked "IO-APIC +16-edge +virtio0"
	expect_line mmiopacked "guest: virtio0 has a packed ring"
}

test_packed()
{
	boot packed cloud devices,rings,rng,rebind,rng,poweroff -c 2 --rng=packed=on
	expect_rng packed "PCI-MSI .*virtio0-input"
	expect_line packed "guest: virtio0 has a packed ring"
	expect_rebound packed
}

# As many disks as there are, all with an interrupt each, and vda is the first one.
test_disks()
{
	local i=0 disks=''
	while [ $i -lt 40 ]; do
		truncate -s $(((i + 1) * 4096)) disk$i
		disks="$disks -d disk$i,serial=number$i"
		i=$((i + 1))
	done
	# shellcheck disable=SC2086
	boot disks cloud readdisks,rng,poweroff -c 2 $disks
	expect_line disks "guest: disk vda number0 8 read"
	expect_line disks "guest: disk vdz number25 208 read"
	expect_line disks "guest: disk vdaa number26 216 read"
	expect_line disks "guest: disk vdan number39 320 read"
	expect "40 disks" [ "$(grep -c '^guest: disk .* read' disks.out)" -eq 40 ]
	expect_line disks "guest: interrupt .*PCI-MSI .*virtio39-req.*"
	expect_line disks "guest: rng virtio_rng\.0: 4096 bytes, 256 different ones"
}

test_none()
{
	boot none cloud devices,poweroff -c 1 --rng=off --no-balloon
	expect_line none "guest: pci 0000:00:00\.0 0x1b36 0x0008 0x060000"
	expect_no_line none "guest: virtio .*"
}

run_tests "$@"
