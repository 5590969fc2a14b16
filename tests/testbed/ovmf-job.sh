#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/ovmf.sh, where KVM can run Linux. guest-init says what the words of lkvm.test= do.

tests="
disk       OVMF, GRUB on an EFI system partition, Debian 6.1 cloud: 256 MB, power-off
+kernel    OVMF, Debian 6.1 cloud, initrds and command line by fw_cfg, variables in a file: 512 MB, reboot, twice
+saved     OVMF, Debian 6.1 cloud by fw_cfg: saved in the firmware and in user space, and goes on, with variables of its own
+uki       OVMF, a unified kernel image on an EFI system partition: 2 CPUs, 512 MB, power-off
+novars    OVMF of 2 MB, no variables: from a disk, RAM above 4 GB
"

. ./job.sh

# expect_machine NAME CPUS
expect_machine()
{
	expect_line "$1" "guest: cpus $2"
	expect_line "$1" "guest: ram 00100000-.*"
	expect_no_line "$1" "guest: bars .*(can't claim|bogus).*"
	expect_line "$1" "guest: bars shown"
}

test_disk()
{
	cp OVMF_VARS_4M.fd disk.vars
	run disk -c 1 -m 256 --firmware OVMF_CODE_4M.fd --firmware-vars disk.vars -d efi.disk </dev/null
	expect_status disk 0
	expect_machine disk 1
	expect_line disk ".*reboot: Power down.*"
}

test_kernel()
{
	local n
	cp OVMF_VARS_4M.fd kernel.vars
	for n in 1 2; do
		run kernel$n -c 1 -m 512 --firmware OVMF_CODE_4M.fd --firmware-vars kernel.vars -k cloud -i initrd \
			-p "lkvm.test=show,bars,firm,reboot" </dev/null
		expect_status kernel$n 0
		expect_machine kernel$n 1
		expect_line kernel$n "guest: command line .* lkvm.test=show,bars,firm,reboot.*"
		expect_line kernel$n "guest: dmi lkvm KVM virtual machine"
		expect_line kernel$n "guest: efi 64"
		cp kernel.vars kernel.vars.$n
	done
	expect "variables" [ "$(cmp -s OVMF_VARS_4M.fd kernel.vars.1; echo $?)" = 1 ]
}

vars_written() { ended saved || ! cmp -s OVMF_VARS_4M.fd saved.vars; }

test_saved()
{
	cp OVMF_VARS_4M.fd saved.vars
	start saved -c 1 -m 512 --firmware OVMF_CODE_4M.fd --firmware-vars saved.vars -k cloud -i initrd \
		-p "lkvm.test=input,show,bars,firm,reboot"
	exec 9>saved.in
	wait_until "variables" vars_written
	save saved firmware
	wait_line saved "guest: type a line"
	save saved linux --stop
	wait_end saved
	cp saved.vars saved.was
	goes_on from-firmware firmware "guest: type a line"
	goes_on from-linux linux
	for at in firmware linux; do
		expect_machine "from-$at" 1
		expect_line "from-$at" "guest: efi 64"
	done
	expect "variables" cmp saved.vars saved.was
}

test_uki()
{
	cp OVMF_VARS_4M.fd uki.vars
	run uki -c 2 -m 512 --firmware OVMF_CODE_4M.fd --firmware-vars uki.vars -d uki.disk </dev/null
	expect_status uki 0
	expect_machine uki 2
	expect_line uki "guest: efi 64"
}

test_novars()
{
	run novars -c 1 -m 3400 --firmware OVMF_CODE.fd -d efi.disk </dev/null
	expect_status novars 0
	expect_machine novars 1
	expect_line novars "guest: ram 100000000-.*"
}

run_tests "$@"
