#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/blk.sh, where KVM can run Linux: Linux's block driver on our disks.
# guest-blk says what the words of lkvm.test= do. Images are in disk/, where direct I/O works.

tests="
pci        ext4 and fio: written on PCI, checked, verified on MMIO
mmio       ext4 and fio: written on MMIO, checked, verified on PCI
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

# expect_good NAME COUNT: so many of its steps went well, and none badly
expect_good()
{
	expect "number of good steps of guest $1" [ "$(grep -c '^guest: .*: good' "$1.out")" -eq "$2" ]
	expect_no_line "$1" "guest: .*: failed.*"
}

# sums_line NAME: what guest NAME said of its tree: number of files, checksum of the checksums
sums_line()
{
	tr -d '\r' <"$1.out" | sed -n 's/^guest: sums of tree //p'
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

run_tests "$@"
