#!/bin/busybox sh
# shellcheck shell=dash disable=SC3003 # busybox: $'\r'
# fio-job.sh ROUNDS PROGRAM...: the fio part of the benchmark, inside the emulated host. Each PROGRAM
# (host, lkvm, qemu) in turn does all shapes of guest-fio on the same file, whose bytes are in the
# page cache. One line each on standard output:
#	PROGRAM SHAPE REQUESTS-A-SECOND REQUESTS INTERRUPTS EXITS
mount -t debugfs debug /sys/kernel/debug
. ./guest-fio

# watch PROGRAM: between guest and result; adds the exits
watch()
{
	local line exits=0
	while IFS= read -r line; do
		line=${line%$'\r'}
		# shellcheck disable=SC2086
		case $line in
		"guest: begin "*) exits=$(cat /sys/kernel/debug/kvm/exits) ;;
		"guest: end "*) echo "$1 ${line#guest: end } $(($(cat /sys/kernel/debug/kvm/exits) - exits))" ;;
		esac
		echo "$line" >>"$1.out"
	done
}

run_host() { fio_shapes disk/bench 0 fio | sed -n 's/^guest: end \(.*\)/host \1 0/p'; }

run_lkvm()
{
	lkvm run -c 1 -m 256 -k kernel -i initrd -p "quiet lkvm.test=shapes,poweroff" \
		-d tools,ro,serial=tools -d disk/bench,serial=bench </dev/null 2>lkvm.err | watch lkvm
}

run_qemu()
{
	qemu-system-x86_64 -L . -M microvm -accel kvm -cpu host -m 256 -nodefaults -no-user-config \
		-display none -no-reboot -serial stdio -kernel kernel -initrd initrd \
		-append "console=ttyS0 quiet lkvm.test=shapes,poweroff" \
		-global virtio-mmio.force-legacy=false -object iothread,id=worker \
		-drive if=none,id=tools,format=raw,readonly=on,file=tools \
		-device virtio-blk-device,drive=tools,serial=tools \
		-drive if=none,id=bench,format=raw,file=disk/bench \
		-device virtio-blk-device,drive=bench,serial=bench,iothread=worker \
		</dev/null 2>qemu.err | watch qemu
}

# measured PROGRAM: all its lines. The emulator sometimes breaks a guest under load (a page fault at
# the first instruction behind swapgs), which is then run again.
measured()
{
	local try
	for try in 1 2 3; do
		: >"$1.out"
		"run_$1" >lines
		if [ "$(grep -c "^$1 " lines)" -eq 6 ]; then
			cat lines
			return
		fi
		echo "fio-job: $1 did not end well (attempt $try):" >&2
		tail -n 5 "$1.out" "$1.err" >&2
	done
	return 1
}

dd if=/dev/zero of=disk/bench bs=1M count=128 2>/dev/null
round=0 rounds=$1
shift
while [ $round -lt "$rounds" ]; do
	for program; do
		measured "$program" || exit
	done
	round=$((round + 1))
done
