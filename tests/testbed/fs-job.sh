#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/fs.sh, where KVM can run Linux: Linux's virtiofs and 9p on our folders. guest-fs
# says what the words of lkvm.test= do. Folders are in disk/, an ext4 file system.

tests="
calls      system calls give what they give on the host's own file system, but for a list (Debian 6.1 cloud)
calls9     the same by 9P, with a list of its own (Debian 6.1 generic)
+random    operations at random, whose result is read by the host (Debian 6.1 cloud)
+random9   the same by 9P (Debian 6.1 generic)
tree       files written by the guest and by the host, read by the other; driver unbound and bound
+tree9     the same by 9P (Debian 6.1 generic)
+readonly  a read-only folder: read whole, changed by nothing (Debian 6.1 generic, MMIO)
+entries   a folder of 100000 files
dax        files as memory: both sides write, one is cut by the host, programs run (Debian 6.1 cloud)
+daxcalls  system calls give what lkvm-run(1) says that they give with dax (Debian 6.1 cloud)
+daxrandom operations at random, with dax (Debian 6.1 cloud)
+daxmmio   a read-only folder with dax (Debian 6.1 generic, MMIO)
daxdirect  direct I/O of a virtio disk from and to a file that is mapped (Debian 6.1 cloud)
+daxmemory two guests that map one file have it once in the host's memory (Debian 6.1 cloud)
"

. ./job.sh

# boot NAME KERNEL WORDS OPTION...: to its end by WORDS
boot()
{
	local name=$1 kernel=$2 words=$3
	shift 3
	run "$name" -k "$kernel" -i initrd -i "$kernel-modules" -i programs.cpio -m 384 -c 1 \
		-p "quiet lkvm.test=$words,poweroff" "$@" </dev/null
	expect_status "$name" 0
}

sums()
{
	(cd "$1" && find . -type f | sort | xargs sha256sum | sha256sum | cut -c 1-64)
}

# calls_by NAME KERNEL WORD OPTION LIST [KEYS]: what differs from the host's own; lkvm-run(1) says why
calls_by()
{
	mkdir -p "disk/$1/share" "disk/$1/host"
	boot "$1" "$2" "$3:share,calls:share" "$4" "disk/$1/share,share${6:-}"
	expect_line "$1" "guest: mounted share"
	expect_line "$1" "guest: calls are over"
	./fs-calls "disk/$1/host" >"$1.want"
	tr -d '\r' <"$1.out" | sed -n 's/^guest: call: //p' >"$1.got"
	expect "more than 100 calls" [ "$(wc -l <"$1.want")" -gt 100 ]
	diff "$1.want" "$1.got" >"$1.diff"
	sed -n "s/^+\([^+]\)/\1/p" "$1.diff" >"$1.differ"
	diff "$5" "$1.differ" >"$1.more" || complain "not what $5 lists: $(cat "$1.more")"
}

test_calls()
{
	calls_by calls cloud mount --fs fs-virtiofs.differ
}

test_calls9()
{
	calls_by calls9 generic mount9 --9p fs-9p.differ
}

# random_by NAME KERNEL WORD OPTION [KEYS]
random_by()
{
	mkdir -p "disk/$1"
	boot "$1" "$2" "$3:share,random:share" "$4" "disk/$1,share${5:-}"
	expect_line "$1" "guest: random: $(./fs-random "disk/$1/random")"
}

test_random()
{
	random_by random cloud mount --fs
}

# With cache=mmap Linux 6.1 itself mixes mappings and calls up.
test_random9()
{
	random_by random9 generic loose9 --9p
}

# tree_by NAME KERNEL NINE OPTION LINES: NINE ends the words; of the large file
tree_by()
{
	mkdir -p "disk/$1"
	seq 1 100000 >"disk/$1/host"
	(
		wait_until "the guest" grep -q 'waiting for share/signal' "$1.out"
		echo "the host's word" >"disk/$1/signal"
	) &
	boot "$1" "$2" "mount$3:share,write$3:share,await:share/signal,remount$3:share,read:share" \
		"$4" "disk/$1,share"
	wait
	expect_line "$1" "guest: found the host's word"
	expect_line "$1" "guest: sum of share/made $(sums "disk/$1/made")"
	expect_line "$1" "guest: sum of share $(sums "disk/$1")"
	expect "the large file" [ "$(seq 1 "$5" | sha256sum)" = "$(sha256sum <"disk/$1/made/direct")" ]
	expect "200 files" [ "$(find "disk/$1/made" -type f | wc -l)" -eq 202 ]
}

test_tree()
{
	tree_by tree cloud "" --fs 3000000
}

test_tree9()
{
	tree_by tree9 generic 9 --9p 300000
}

test_readonly()
{
	mkdir -p disk/ro
	echo small >disk/ro/small
	seq 1 2000000 >disk/ro/large
	boot readonly generic mount:share,read:share,read:share,refused:share \
		--fs disk/ro,share,ro --virtio-transport mmio
	expect "the same sum twice" [ "$(tr -d '\r' <readonly.out |
		grep -c "^guest: sum of share $(sums disk/ro)$")" -eq 2 ]
	expect "five refusals" [ "$(grep -c '^guest: .*: Read-only file system' readonly.out)" -eq 5 ]
	expect "two files" [ "$(find disk/ro -type f | wc -l)" -eq 2 ]
}

test_entries()
{
	mkdir -p disk/entries/many
	(cd disk/entries/many && seq 1 100000 | sed 's/^/a-file-with-a-longer-name-/' | xargs touch)
	boot entries cloud mount:share,entries:share/many --fs disk/entries,share
	expect_line entries "guest: entries of share/many 100000 $(cd disk/entries/many &&
		find . -mindepth 1 -maxdepth 1 | sort | sha256sum | cut -c 1-64)"
}

# answers NAME: the host's part in fs-dax.c
answers()
{
	wait_line "$1" "guest: dax: written"
	expect "the guest's word" [ "$(dd if="disk/$1/file" bs=1M skip=1 count=1 2>/dev/null | head -c 12)" = "guest's word" ]
	printf '#' | dd of="disk/$1/file" bs=1M seek=2 conv=notrunc 2>/dev/null
	wait_line "$1" "guest: dax: cut it"
	truncate -s 5000 "disk/$1/cut"
	wait_line "$1" "guest: dax: write it again"
	head -c 5242880 /dev/zero | tr '\0' '@' >"disk/$1/cut"
}

test_dax()
{
	mkdir -p disk/dax
	seq 1 700000 | head -c 4194304 >disk/dax/file
	seq 1 700000 | head -c 4194304 >disk/dax/cut
	sum=$(./fs-dax sum disk/dax/file)
	answers dax &
	boot dax cloud "mount:share,dax:share" --fs disk/dax,share,dax
	wait
	for line in "without a copy" "mine is mine" "the host's word" appended zeros "the beginning is there" \
		again hello; do
		expect_line dax "guest: dax: $line"
	done
	expect_line dax "$sum"
	expect "what was appended" [ "$(tail -c 4 disk/dax/file)" = more ]
}

test_daxcalls()
{
	calls_by daxcalls cloud mount --fs fs-dax.differ ,dax
}

test_daxrandom()
{
	random_by daxrandom cloud mount --fs ,dax
}

test_daxmmio()
{
	mkdir -p disk/daxmmio
	seq 1 2000000 >disk/daxmmio/large
	boot daxmmio generic mount:share,is_dax:share/large,read:share,read:share \
		--fs disk/daxmmio,share,ro,dax --virtio-transport mmio
	expect_line daxmmio "guest: dax: without a copy"
	expect "the same sum twice" [ "$(tr -d '\r' <daxmmio.out |
		grep -c "^guest: sum of share $(sums disk/daxmmio)$")" -eq 2 ]
}

# cuts NAME: the host's part in fs-dax.c: direct
cuts()
{
	wait_line "$1" "guest: dax: cut it"
	expect "the disk's in the file" cmp -s -n $((33554432 - 1024)) "disk/$1/file" "disk/$1.img" 512 512
	expect "not all of the disk's" [ "$(head -c 512 "disk/$1/file")" = "$(seq 1 200 | head -c 512)" ]
	truncate -s 5000 "disk/$1/file"
	touch "disk/$1/cut"
}

test_daxdirect()
{
	mkdir -p disk/daxdirect
	seq 1 5000000 | head -c 33554432 >disk/daxdirect/file
	truncate -s 33554432 disk/daxdirect.img
	cuts daxdirect &
	boot daxdirect cloud "mount:share,direct:share" --fs disk/daxdirect,share,dax -d disk/daxdirect.img
	wait
	for line in "without a copy" "from the file to the disk" "from the disk to the file" "and nothing else" zeros; do
		expect_line daxdirect "guest: dax: $line"
	done
	expect "no complaint" [ ! -s daxdirect.err ]
}

# of_file FIELD PID: kB of it of the file "big" in this process
of_file()
{
	awk -v "field=$1:" '/^[0-9a-f]+-/ { here = $NF ~ /\/big$/ } here && $1 == field { sum += $2 } END { print sum + 0 }' \
		"/proc/$2/smaps"
}

test_daxmemory()
{
	mkdir -p disk/daxmemory
	dd if=/dev/urandom of=disk/daxmemory/big bs=1M count=48 2>/dev/null
	for name in daxmemory daxmemory-2; do
		start $name -k cloud -i initrd -i cloud-modules -i programs.cpio -m 256 -c 1 \
			-p "quiet lkvm.test=mount:share,hold:share/big,poweroff" --fs disk/daxmemory,share,dax
	done
	exec 8>daxmemory.in 9>daxmemory-2.in
	wait_line daxmemory "guest: dax: holds"
	wait_line daxmemory-2 "guest: dax: holds"
	for name in daxmemory daxmemory-2; do
		expect_line $name "guest: dax: holds 50331648 bytes .*, [0-3] MiB of them its own"
		pid=$(lkvm list | awk -v "name=$name" '$1 == name { print $2 }')
		expect "$name has all of it" [ "$(of_file Rss "$pid")" -ge 49152 ]
		expect "$name shares it" [ "$(of_file Pss "$pid")" -le 25000 ]
	done
	echo >&8
	echo >&9
	wait_end daxmemory
	wait_end daxmemory-2
	expect_status daxmemory 0
	expect_status daxmemory-2 0
}

run_tests "$@"
