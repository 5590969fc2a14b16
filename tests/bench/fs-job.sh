#!/usr/bin/env bash
# fs-job.sh PROGRAM ROW...: the fs part of the benchmark, inside the emulated host, whose root is this machine's tree.
# PROGRAM (host, lkvm-fs, lkvm-dax, lkvm-9p, before-fs, before-9p, qemu-fs, qemu-9p) measures these rows of files.c on
# the host's last disk; all that is there is in its page cache. Lines on standard output:
#	guest: files: ROW NANOSECONDS
set -u
program=$1 rows=$(echo "${*:2}" | tr ' ' +) n_rows=$(($# - 1))
work=/tmp/bench
share=$work/share
export HOME=$work
options="trans=virtio+version=9p2000.L+msize=512000+cache=mmap"

# What is written is not to be carried to the disk while anything is measured.
echo 0 >/proc/sys/vm/dirty_writeback_centisecs
echo 90 >/proc/sys/vm/dirty_background_ratio
echo 95 >/proc/sys/vm/dirty_ratio

# into_peers FOLDER: the Debian 13 tree has what a program needs
into_peers()
{
	local name
	for name in proc dev sys; do
		mount --rbind "/$name" "$1/$name"
	done
	mount --rbind /tmp "$1/tmp"
}

# git, too, is to be in the page cache.
run_host()
{
	git -C "$share/repository" version >/dev/null
	# shellcheck disable=SC2046 # words
	"$BENCH/files" cached "$share" $(echo "$rows" | tr + ' ')
}

# lkvm PROGRAM OPTION TYPE [OPTIONS [KEYS]]
lkvm()
{
	"$1" run -c 1 -m 512 -k "$KERNEL" -i "$work/initrd" -p "quiet lkvm.test=files:$3:$rows:${4-},poweroff" \
		"$2" "$share,share${5-}" </dev/null
}

run_lkvm-fs() { lkvm "$LKVM" --fs virtiofs; }
run_lkvm-dax() { lkvm "$LKVM" --fs virtiofs dax ,dax; }
run_lkvm-9p() { lkvm "$LKVM" --9p 9p "$options"; }
run_before-fs() { lkvm "$LKVM_BENCH_BASE" --fs virtiofs; }
run_before-9p() { lkvm "$LKVM_BENCH_BASE" --9p 9p "$options"; }

# qemu WORDS OPTION...
qemu()
{
	local words=$1
	shift
	cp "$KERNEL" "$work/kernel"
	chroot "$PEERS" qemu-system-x86_64 -M microvm,pcie=on -accel kvm -cpu "$MICROVM_CPU" -m 512 -nodefaults \
		-no-user-config -display none -no-reboot -serial stdio -kernel "$work/kernel" -initrd "$work/initrd" \
		-append "console=ttyS0 quiet lkvm.test=$words,poweroff" "$@" </dev/null
}

# With extended attributes, which lkvm always has: a guest asks for one of each file that it writes.
run_qemu-fs()
{
	into_peers "$PEERS"
	chroot "$PEERS" /usr/libexec/virtiofsd --socket-path "$work/socket" --shared-dir "$share" --sandbox none --xattr \
		>"$work/virtiofsd" 2>&1 &
	while [ ! -e "$work/socket" ]; do
		kill -0 $! || return
		sleep 0.1
	done
	qemu "files:virtiofs:$rows" -object memory-backend-memfd,id=mem,size=512M,share=on -numa node,memdev=mem \
		-chardev "socket,id=files,path=$work/socket" \
		-device vhost-user-fs-pci,chardev=files,tag=share,queue-size=1024
}

run_qemu-9p()
{
	into_peers "$PEERS"
	qemu "files:9p:$rows:$options" -fsdev "local,id=files,path=$share,security_model=passthrough,multidevs=remap" \
		-device virtio-9p-pci,fsdev=files,mount_tag=share
}

mkdir -p "$share"
mount /dev/vdb "$share"
cp "$INITRD" "$work/initrd"
find "$share" -type f -size +0 -exec cat {} + | wc -c # into the page cache,
find "$share" -size +1000M                             # and what is known of all others
"run_$program" 2>"$work/errors" | sed -u 's/\r$//' | tee "$work/out"
[ "$(grep -c '^guest: files: ' "$work/out")" -eq "$n_rows" ] || {
	echo "fs-job: $program did not end well:"
	tail -n 5 "$work/errors" "$work/virtiofsd"
	exit 1
}
