#!/usr/bin/env bash
# The tests of tests/testbed/session-long.sh, where KVM can run Linux; $CLOUD is a kernel of Debian with its modules
# beside it, $SMALL one of small-kernel.sh, which has none.
tests="
in         1 GiB through a pipe into a guest
build      git and make -j4 of this tree, in a folder that the guest may write; what was built runs
out        1 GiB through a pipe out of a guest
fio        checksums of what was written to a file: buffered and direct, psync and libaio; the host reads them too
small      a kernel without modules, PCI and ACPI: its name, statuses, signals, input, arguments
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"

per_guest=6000 # seconds
gib=1024       # MiB

test_in()
{
	flow $gib | tee >(md5sum >sent) |
		run in -k "$CLOUD" -c 1 -m 256 -- sh -c 'md5sum; exit 3'
	expect_status in 3
	expect_text in.out "$(cat sent)"
	expect_empty in.err
}

test_out()
{
	flow 1 >/dev/null # makes the block that the guest repeats
	timeout "$per_guest" lkvm run --name out -k "$CLOUD" -c 1 -m 256 -- \
		bash -c "$(declare -f flow); flow $gib | tee >(md5sum >&2); wait" </dev/null 2>out.err | md5sum >out.out
	echo "${PIPESTATUS[0]}" >out.status
	expect_status out 0
	expect_text out.out "$(cat out.err)"
}

test_build()
{
	[ -e "$here/../../.git" ] || { skip "this tree came without git"; return; }
	printf '[safe]\n\tdirectory = *\n' >gitconfig # an emulated host's root may not be who owns the tree
	GIT_CONFIG_GLOBAL=$work/gitconfig expect "a clone" git clone -q --no-hardlinks "$here/../.." tree
	run build-git -k "$CLOUD" -c 4 -m 1024 --rw "$work/tree" --cwd "$work/tree" -- sh -ec '
		git status --porcelain
		git log -1 --format=%H
		echo "one more line" >>README
		git status --porcelain
		git -c user.name=guest -c user.email=guest@example.org commit -qam "a commit of the guest"
		git status --porcelain
		git fsck --full --no-dangling' </dev/null
	expect_status build-git 0
	expect_text build-git.out "$(git -C tree rev-parse HEAD^)"$'\n M README'
	expect "its commit" [ "$(git -C tree log -1 --format=%an)" = guest ]
	expect "its tree" [ -z "$(git -C tree status --porcelain)" ]
	expect "all that git keeps" git -C tree fsck --full

	# An emulated host has one CPU: four of a guest's wait for each other there more than they compile.
	run build-make -k "$CLOUD" -c 2 -m 1024 --rw "$work/tree" --cwd "$work/tree" -- sh -ec '
		make -s -j4 CFLAGS=-O0
		build/lkvm version
		git status --porcelain' </dev/null
	expect_status build-make 0
	expect_text build-make.out "$(tree/build/lkvm version)"
}

test_fio()
{
	mkdir files
	run fio -k "$CLOUD" -c 2 -m 512 --rw "$work/files" --cwd "$work/files" -- \
		fio --output-format=terse "$here/verify-file.fio" </dev/null
	expect_status fio 0
	expect "four files" [ "$(find files -size +8191k | wc -l)" = 4 ]
	cd files || return
	expect "the same on the host" fio --output-format=terse --verify_only "$here/verify-file.fio"
}

# small NAME OPTION... [-- COMMAND]
small()
{
	local name=$1
	shift
	session "small-$name" "$SMALL" --virtio-transport mmio,cmdline "$@"
}

test_small()
{
	local words i sum
	small uname -- uname -r </dev/null
	expect_status small-uname 0
	expect "its name" grep -qx '6\.1\.[0-9]*' small-uname.out
	expect_empty small-uname.err
	session small-tree "$SMALL" --virtio-transport mmio --no-acpi -- sh -c 'ls /sys/bus; exit 4' </dev/null
	expect_status small-tree 4
	expect "it has neither PCI nor ACPI" [ "$(grep -cE 'acpi|pci' small-tree.out)" = 0 ]
	small 7 -- sh -c 'echo said; echo so >&2; exit 7' </dev/null
	expect_status small-7 7
	expect_text small-7.out said
	expect_text small-7.err so
	small 127 -- no-such-command </dev/null
	expect_status small-127 127
	# shellcheck disable=SC2016
	small term -- sh -c 'kill -TERM $$' </dev/null
	expect_status small-term 143
	# shellcheck disable=SC2016
	small kill -- sh -c 'kill -KILL $$' </dev/null
	expect_status small-kill 137
	head -c 4000000 /dev/urandom >in
	sum=$(sha256sum <in)
	small input -- sh -c 'tee /dev/stderr' <in
	expect_status small-input 0
	expect "standard output" [ "$(sha256sum <small-input.out)" = "$sum" ]
	expect "standard error" [ "$(sha256sum <small-input.err)" = "$sum" ]
	: >small-input.out 2>small-input.err # not to be shown
	small closed -- sh -c 'cat; echo status $?' <&-
	expect_text small-closed.out "status 1"
	for ((i = 0; i < 10000; i++)); do words[i]=$'a\t"\n\\\xff'$i; done
	# shellcheck disable=SC2016
	small words -- bash -c 'printf "%s\0" "$@" | sha256sum; echo $#' bash "${words[@]}" </dev/null
	expect_text small-words.out "$(printf '%s\0' "${words[@]}" | sha256sum)"$'\n10000'
}

run_tests "$@"
rm -rf "$work"
