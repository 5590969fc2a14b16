#!/bin/busybox sh
# shellcheck shell=dash disable=SC3003 # busybox: $'\r'
# fio-job.sh PROGRAM: the fio part of the benchmark, inside the emulated host. PROGRAM (host, lkvm, qemu)
# does all shapes of guest-fio on a file whose bytes are in the page cache. One line each on standard
# output:
#	PROGRAM SHAPE REQUESTS-A-SECOND REQUESTS INTERRUPTS EXITS
mount -t debugfs debug /sys/kernel/debug
. ./guest-fio

# watch PROGRAM: between guest and result; adds the exits. Starts no process while the guest measures.
watch()
{
	local line before=0 now
	while IFS= read -r line; do
		line=${line%$'\r'}
		read -r now </sys/kernel/debug/kvm/exits
		case $line in
		"guest: begin "*) before=$now ;;
		"guest: end "*) echo "$1 ${line#guest: end } $((now - before))" ;;
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
	qemu-system-x86_64 -L . -M microvm -accel kvm -cpu host,-arch-capabilities -m 256 -nodefaults \
		-no-user-config -display none -no-reboot -serial stdio -kernel kernel -initrd initrd \
		-append "console=ttyS0 quiet lkvm.test=shapes,poweroff" \
		-global virtio-mmio.force-legacy=false -object iothread,id=worker \
		-drive if=none,id=tools,format=raw,readonly=on,file=tools \
		-device virtio-blk-device,drive=tools,serial=tools \
		-drive if=none,id=bench,format=raw,file=disk/bench \
		-device virtio-blk-device,drive=bench,serial=bench,iothread=worker \
		</dev/null 2>qemu.err | watch qemu
}

# What is written is not to be carried to the disk while anything is measured.
echo 0 >/proc/sys/vm/dirty_writeback_centisecs
echo 90 >/proc/sys/vm/dirty_background_ratio
echo 95 >/proc/sys/vm/dirty_ratio
dd if=/dev/zero of=disk/bench bs=1M count=128 2>/dev/null
"run_$1" | tee lines
[ "$(wc -l <lines)" -eq 6 ] || {
	echo "fio-job: $1 did not end well:" >&2
	tail -n 5 "$1.out" "$1.err" >&2
	exit 1
}
