#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/blk.sh, where KVM can run Linux: Linux's block driver on our disks.
# guest-blk says what the words of lkvm.test= do. Images are in disk/, where direct I/O works.

tests="
pci        ext4 and fio: written on PCI, checked, verified on MMIO
+mmio      ext4 and fio: written on MMIO, checked, verified on PCI
+killraw   kill -9 after fsync() on the disk loses nothing (10 rounds, direct)
killext4   kill -9 after fsync() on ext4 loses nothing (10 rounds, cached)
flush      each flush of the guest, and each write without a write cache, is a flush of the file
live       ro, ephemeral, discard, zeroes, resize, unbind with I/O in flight, one guest an image
+qcow2     qcow2 with a backing file and compressed clusters
errors     a full file system and a limit of file sizes: errors, nothing lost that was flushed
+device    a block device that cannot write everywhere: errors, nothing lost that was flushed
"

. ./job.sh

# boot NAME WORDS OPTION...: to its end by WORDS
boot()
{
	local name=$1 words=$2
	shift 2
	run "$name" -k kernel -i initrd -i modules -m 256 -p "quiet lkvm.test=$words,poweroff" \
		-d tools,ro,serial=tools "$@" </dev/null
	expect_status "$name" 0
}

# wrap NAME COMMAND: a folder NAME for PATH where lkvm is COMMAND, followed by its arguments
wrap()
{
	mkdir "$1"
	printf '#!/bin/sh\nPATH=%s\n%s "$@"\n' "$PATH" "$2" >"$1/lkvm"
	chmod +x "$1/lkvm"
}

# expect_good NAME COUNT: so many of its steps went well, and none badly
expect_good()
{
	expect "number of good steps of guest $1" [ "$(grep -c '^guest: .*: good' "$1.out")" -eq "$2" ]
	expect_no_line "$1" "guest: .*: failed.*"
}

# sums_line NAME: what guest NAME said of its tree: number of files, checksum of the checksums
sums_line()
{
	tr -d '\r' <"$1.out" | sed -n 's/^guest: sums of tree //p' | tail -n 1
}

# sums_good FOLDER: say what does not have its checksum
sums_good()
{
	(cd "$1" && sha256sum -c sums) >"$1.list" && ! grep -v ': OK$' "$1.list"
}

# expect_tree NAME IMAGE: fsck finds nothing, and the files are as guest NAME wrote them
expect_tree()
{
	expect "a clean file system" e2fsck -fn "$2"
	mkdir "$1-tree"
	debugfs -R "rdump / $1-tree" "$2"
	expect "the files in the image" sums_good "$1-tree"
	expect "the guest's checksums" [ "$(sums_line "$1")" = \
		"$(wc -l <"$1-tree/sums") $(sha256sum <"$1-tree/sums" | cut -d' ' -f1)" ]
	rm -r "$1-tree"
}

# write_and_verify NAME TRANSPORT OTHER-TRANSPORT: one guest writes, we look, another one reads
write_and_verify()
{
	local name=$1 first=$2 second=$3
	truncate -s 32M "disk/$name-tree"
	truncate -s 8M "disk/$name-direct" "disk/$name-cached"
	set -- -c 2 -d "disk/$name-tree,serial=tree" \
		-d "disk/$name-direct,serial=direct,direct,queues=2,packed" \
		-d "disk/$name-cached,serial=cached,queues=2"

	boot "$name" disks,tree:tree,fio --virtio-transport "$first" "$@"
	expect_good "$name" 5
	expect_line "$name" "guest: disk tree sectors=65536 ro=0 .* cache=write-back queues=1 driver=virtio-$first"
	expect_line "$name" "guest: disk direct sectors=16384 .* queues=2 driver=virtio-$first"
	expect_tree "$name" "disk/$name-tree"

	boot "$name-again" disks,sums:tree,fio:--verify_only \
		--virtio-transport "$second" "$@"
	expect_good "$name-again" 3
	expect_line "$name-again" "guest: disk direct sectors=16384 .* queues=2 driver=virtio-$second"
	expect "the same tree" [ "$(sums_line "$name")" = "$(sums_line "$name-again")" ]
}

test_pci() { write_and_verify pci pci mmio; }
test_mmio() { write_and_verify mmio mmio pci; }

# kill_after NAME N OPTION...: start a guest, and kill its lkvm when it has reported N records
kill_after()
{
	local name=$1 n=$2 pid line
	shift 2
	lkvm run --name "$name" --timeout $per_guest -k kernel -i initrd -i modules -m 128 -c 1 --rng=off \
		"$@" >"$name.pipe" 2>"$name.err" </dev/null &
	pid=$!
	while read -r line; do
		echo "$line"
		case $line in
		*"synced $n"?) kill -9 $pid ;;
		esac
	done <"$name.pipe" | tr -d '\r' >"$name.out"
	wait $pid
	expect "kill -9 of guest $name" [ $? -eq 137 ]
}

# records_there NAME ROUND FILE: all that the guest has reported are in the file
records_there()
{
	local n
	n=$(grep -c '^guest: synced ' "$1.out")
	seq "$n" | sed "s/^/round $2 record /" >"$1.wanted"
	tail -c +513 "$3" | head -c $((n * 512)) | sed 's/ *$//' >"$1.found"
	cmp "$1.wanted" "$1.found"
}

# kill_rounds NAME WORD IMAGE OPTION: ten times, later from round to round
kill_rounds()
{
	local name=$1 round
	mkfifo "$name.pipe"
	for round in $(seq 10); do
		kill_after "$name" $((round + 2)) -p "quiet lkvm.test=$2:records:$round" \
			-d "$3,serial=records,$4"
		expect "records of round $round" [ "$(grep -c 'guest: synced' "$name.out")" -ge $((round + 2)) ]
		"look_$name" "$3"
		expect "what was synced in round $round" records_there "$name" "$round" "$name.records"
		[ ! -s "$failures" ] || break
	done
}

look_killraw() { cp "$1" killraw.records; }

# As the next mount would: the journal first
look_killext4()
{
	expect "a file system that can be recovered" recovered "$1"
	debugfs -R "dump /records killext4.records" "$1"
	expect "fsck after recovery" e2fsck -fn "$1"
}

# 1: something was to be repaired: the journal
recovered()
{
	e2fsck -p "$1"
	[ $? -le 1 ]
}

test_killraw()
{
	truncate -s 1M disk/killraw
	kill_rounds killraw records disk/killraw direct
}

test_killext4()
{
	cp ext4 disk/killext4
	kill_rounds killext4 filerecords disk/killext4 queues=1
}

flushes_done() { grep -oE 'IOCB_CMD_FD?SYNC|fd?a?t?a?sync\(' flush.trace | wc -l; }
flushes_of() { tr -d '\r' <flush.out | sed -n "s/^guest: flushes of $1 //p"; }

# The page cache outlives a killed process: only a look at the system calls tells whether it would
# have been on the disk.
test_flush()
{
	local guest
	truncate -s 1M disk/flush-cached disk/flush-direct disk/flush-through
	wrap flush "exec strace -f --seccomp-bpf -v -e trace=io_submit,fsync,fdatasync -o flush.trace lkvm"
	PATH="$PWD/flush:$PATH" boot flush records:cached:1:10,records:direct:1:10,through:through \
		-c 1 -d disk/flush-cached,serial=cached -d disk/flush-direct,serial=direct,direct \
		-d disk/flush-through,serial=through
	expect_good flush 1
	guest=$(($(flushes_of cached) + $(flushes_of direct)))
	expect "a flush for each record" [ "$guest" -ge 20 ]
	expect "the host's flushes" [ "$(flushes_done)" -ge $((guest + 7)) ]
	expect "the host's flushes: not too many" [ "$(flushes_done)" -le $((guest + 7 + 10)) ]
}

blocks() { stat -c %b "$1"; }
sum() { sha256sum <"$1" | cut -d' ' -f1; }
turn() { wait_line live "guest: turn $1"; }
go_on() { echo >&9; }

# shared_images: while the guest "live" runs
shared_images()
{
	local pid
	pid=$(lkvm list | awk '$1 == "live" { print $2 }')
	run second -k kernel -d disk/trim </dev/null
	expect_status second 125
	expect "its PID: $pid" grep -qx "lkvm: disk 'disk/trim' is in use by process $pid" second.err
	run second -k kernel -d disk/trim,ro </dev/null
	expect_status second 125
	expect "its PID: $pid" grep -qx "lkvm: disk 'disk/trim' is in use for writing by process $pid" second.err
	run second -k kernel -d disk/ro </dev/null
	expect_status second 125
	expect "a PID" grep -qxE "lkvm: disk 'disk/ro' is in use by process [0-9]+" second.err
	boot reader sum:ro -c 1 -d disk/ro,ro,serial=ro
	expect_line reader "guest: sum of ro $(sum disk/ro)"
}

# trimmed_file: as guest-blk's word "trim" leaves it
trimmed_file()
{
	head -c 7340032 disk/trim >live.head
	tail -c +7340033 disk/trim | head -c 1048576 >live.tail
	[ "$(tr -dc '\0' <live.head | wc -c)" -eq 7340032 ] &&
		[ "$(tr -dc 'y\n' <live.tail | wc -c)" -eq 1048576 ]
}

test_live()
{
	local full
	truncate -s 8M disk/size
	truncate -s 16M disk/trim
	truncate -s 32M disk/rebind
	cp initrd disk/ro
	truncate -s 2M disk/ro
	cp disk/ro disk/ephemeral
	start live -k kernel -i initrd -i modules -m 256 -c 2 -d tools,ro,serial=tools \
		-d disk/ro,ro,serial=ro -d disk/ephemeral,ephemeral,serial=ephemeral -d disk/trim,serial=trim \
		-d disk/size,serial=size -d disk/rebind,serial=01234567890123456789,queues=2 \
		-p "quiet lkvm.test=disks,pattern,readonly:ro,ephemeral:ephemeral,trim:trim,resize:size,tree:01234567890123456789:16M,rebindblk:01234567890123456789,sums:01234567890123456789,poweroff"
	exec 9>live.in

	turn "trim is full"
	full=$(blocks disk/trim)
	expect "a file of 8 MiB" [ "$full" -ge 16384 ]
	shared_images
	go_on
	turn "trim is trimmed"
	expect "5 MiB less: $full, $(blocks disk/trim)" [ "$(blocks disk/trim)" -le $((full - 10240 + 64)) ]
	expect "zeros that are still allocated" [ "$(blocks disk/trim)" -ge $((full - 10240 - 64)) ]
	expect "zeros and the rest" trimmed_file
	go_on
	turn "trim has a file"
	full=$(blocks disk/trim)
	go_on

	turn "size is to grow"
	truncate -s 16M disk/size
	turn "size is to shrink"
	expect "5 MiB less after fstrim: $full, $(blocks disk/trim)" \
		[ "$(blocks disk/trim)" -le $((full - 10240 + 256)) ]
	truncate -s 4M disk/size
	wait_end live

	expect_status live 0
	expect_line live "guest: disk ro sectors=4096 ro=1 .*"
	expect_line live "guest: write ro: failed.*"
	expect_line live "guest: write ro after setrw: failed.*"
	expect "an unchanged file" cmp -n "$(stat -c %s initrd)" initrd disk/ro
	expect_line live "guest: write ephemeral: good"
	expect_line live "guest: read ephemeral: good"
	expect "an unchanged file" cmp disk/ro disk/ephemeral
	for step in discard zero punch zeros "the rest" fstrim "unbind [123]" "bind [123]"; do
		expect_line live "guest: $step: good"
	done
	expect_line live "guest: \[vd.\] new size: 32768 512-byte logical blocks .*"
	expect_line live "guest: size of size 32768"
	expect_line live "guest: write the last sector: good"
	expect_line live "guest: size of size 8192"
	expect_line live "guest: read the last sector: good"
	expect_line live "guest: nothing behind the end: good"
	expect "three times unbound and bound" [ "$(grep -cE '^guest: (un)?bind [123]: good' live.out)" -eq 6 ]
	expect "sums before and after" [ "$(tr -d '\r' <live.out | grep '^guest: sums of' | sort -u | wc -l)" -eq 1 ]
	expect "fsck" e2fsck -fn disk/rebind
	expect "no message about a disk" eval "! grep disk live.err"
}

# expect_qcow2 NAME IMAGE: in good order, with the tree that guest NAME left in it
expect_qcow2()
{
	expect "qemu-img check" qemu-img check "$2"
	qemu-img convert -O raw "$2" "$2.raw"
	expect_tree "$1" "$2.raw"
}

test_qcow2()
{
	local base
	cp base.qcow2 disk/base.qcow2
	cp base.qcow2 disk/qcow2-alone # its name does not tell the format
	cp top.qcow2 disk/top.qcow2
	base=$(sum disk/base.qcow2)
	expect "compressed clusters" compressed disk/base.qcow2
	boot qcow2 disks,sums:tree,change:tree -c 2 -d disk/top.qcow2,backing=on,serial=tree,queues=2
	expect_good qcow2 5
	boot qcow2-alone sums:tree,change:tree -c 1 --virtio-transport mmio \
		-d disk/qcow2-alone,format=qcow2,serial=tree,direct
	expect_good qcow2-alone 5
	expect "an unchanged backing file" [ "$(sum disk/base.qcow2)" = "$base" ]
	expect_qcow2 qcow2 disk/top.qcow2
	expect_qcow2 qcow2-alone disk/qcow2-alone
}

compressed() { qemu-img check "$1" | grep -qE '[1-9][0-9.]*% compressed clusters'; }

# expect_once NAME DISK MESSAGE: a line of lkvm's for guest NAME, and no other one about the disk
expect_once()
{
	expect "the message '$3'" grep -qxE "lkvm: disk '$2': $3" "$1.err"
	expect "one message about $2" [ "$(grep -cF "$2" "$1.err")" -eq 1 ]
}

# expect_overfilled NAME SERIAL: its requests failed, and what it flushed before is there
expect_overfilled()
{
	expect_line "$1" "guest: flush $2: good"
	expect_line "$1" "guest: overfill $2: failed.*"
	expect_line "$1" "guest: overfill $2 again: failed.*"
	expect_line "$1" "guest: read $2: good"
}

# flushed NAME FILE: what the guest flushed is in front
flushed()
{
	expect_line "$1" "guest: pattern $(head -c 720896 "$2" | sha256sum | cut -d' ' -f1)"
}

test_errors()
{
	truncate -s 4M disk/limit
	mkdir full
	wrap errors "exec unshare -rm sh -c '
		mount -t tmpfs -o size=1M full full
		truncate -s 4M full/disk
		ulimit -f 4096 # of 512 bytes
		lkvm \"\$@\"
		status=\$?
		head -c 720896 full/disk >errors.full
		exit \$status' sh"
	PATH="$PWD/errors:$PATH" boot errors pattern,overfill:full:2048,overfill:limit:2048 -c 1 \
		--timeout $per_guest -d full/disk,serial=full -d disk/limit,serial=limit,direct
	for name in full limit; do
		expect_overfilled errors $name
	done
	expect_once errors full/disk "write of .* failed \(.*\): No space left on device"
	expect_once errors disk/limit "write of .* failed \(.*\): File too large"
	flushed errors errors.full
	flushed errors disk/limit
}

# bad_device NAME: a block device of 4 MiB, /dev/NAME, of which 256 KiB cannot be written
bad_device()
{
	local dir=/sys/kernel/config/nullb/$1
	[ -d /sys/kernel/config/nullb ] || mount -t configfs config /sys/kernel/config
	mkdir "$dir"
	echo 4 >"$dir/size"
	echo 1 >"$dir/memory_backed"
	echo +4096-4607 >"$dir/badblocks"
	echo 1 >"$dir/power"
	[ -b "/dev/$1" ] || ln -s "nullb$(cat "$dir/index")" "/dev/$1" # before Linux 6.0
}

test_device()
{
	local name
	if ! [ -d /sys/module/null_blk ] || [ "$(id -u)" -ne 0 ]; then
		skip "needs root and the module null_blk"
		return
	fi
	bad_device bad-cached
	bad_device bad-direct
	boot device disks,pattern,overfill:cached:2048,overfill:direct:2048 -c 1 \
		-d /dev/bad-cached,serial=cached -d /dev/bad-direct,serial=direct,direct
	expect_line device "guest: disk direct sectors=8192 .*"
	for name in cached direct; do
		expect_overfilled device $name
	done
	expect_once device /dev/bad-cached "flush failed \(.*\): Input/output error"
	expect_once device /dev/bad-direct "write of .* failed \(.*\): Input/output error"
	flushed device /dev/bad-cached
	flushed device /dev/bad-direct
	rmdir /sys/kernel/config/nullb/bad-cached /sys/kernel/config/nullb/bad-direct
}

run_tests "$@"
