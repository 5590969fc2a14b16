#!/usr/bin/env bash
# Guest RAM as the host sees it: places, advice, sizes, other kinds of memory.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

# mappings: the address range, rights, kB and flags of lkvm's mappings of 1 MB or more, in order
mappings()
{
	awk '/^[0-9a-f]+-[0-9a-f]+ / { range = $1; rights = $2 }
	     /^Size:/ { size = $2 }
	     /^Rss:/ { rss = $2 }
	     /^VmFlags:/ { sub("VmFlags: *", ""); if (size >= 1024) print range, rights, size, rss, $0 }' \
		"/proc/$g_pid/smaps"
}

# flags MAPPING: those that the advice makes, as mg hg dd dc nr in this order
advice()
{
	local flag
	for flag in mg hg dd dc nr; do
		[[ " $1 " != *" $flag "* ]] || echo -n "$flag "
	done
}

# ram_parts SPAN BASE: "OFFSET kB RIGHTS ADVICE" of each mapping that starts within the span; what a
# hole has beyond the gap's size is the guard behind the last part
ram_parts()
{
	local base=$((16#$2)) range rights size flags
	mappings | while read -r range rights size _ flags; do
		[[ $((16#${range%-*})) -ge $base && $((16#${range%-*})) -lt $((base + $1)) ]] || continue
		[ "${rights%?}" != --- ] || [ "$size" -le $((768 << 10)) ] || size=$((768 << 10))
		printf '%x %d %s %s\n' $((16#${range%-*} - base)) "$size" "${rights%?}" "$(advice "$flags")"
	done
}

# check_layout MB SPAN-MB: WANTED on standard input
check_layout()
{
	local first=$1
	[ "$1" -le 3328 ] || first=3328
	g_start halt.bin -m "$1"
	base=$(mappings | awk -v kb=$((first * 1024)) '$3 == kb && $2 ~ /^rw/ { sub("-.*", "", $1); print $1; exit }')
	t_is "-m $1: layout and advice" "$(ram_parts $(($2 << 20)) "${base:-0}")" "$(cat)"
	t_is "-m $1: base is 2 MB aligned" $((16#${base:-1} & 0x1fffff)) 0
	t_ok "-m $1: the guest's memory is not resident" \
		test "$(awk '/^VmRSS:/ { print $2 }' "/proc/$g_pid/status")" -lt 16384
	"$LKVM" stop test >/dev/null
	g_wait
	t_status 0
}

all='mg hg dd dc nr'
check_layout 64 64 <<<"0 65536 rw- $all "
check_layout 256 256 <<<"0 262144 rw- $all "
check_layout 3327 3327 <<<"0 $((3327 * 1024)) rw- $all "
check_layout 3328 4096 <<<"0 $((3328 * 1024)) rw- $all 
d0000000 $((768 * 1024)) --- nr "
check_layout 3329 4097 <<<"0 $((3328 * 1024)) rw- $all 
d0000000 $((768 * 1024)) --- nr 
100000000 1024 rw- $all "
check_layout 4096 4864 <<<"0 $((3328 * 1024)) rw- $all 
d0000000 $((768 * 1024)) --- nr 
100000000 $((768 * 1024)) rw- $all "

# Each piece of advice can be switched off.
for pair in merge:mg thp:hg dontdump:dd dontfork:dc; do
	g_start halt.bin -m 256 --mem-${pair%:*}=off
	line=$(mappings | awk '$3 == 262144 && $2 ~ /^rw/')
	t_is "--mem-${pair%:*}=off" "$(advice "$line")" "${all/${pair#*:} /} "
	"$LKVM" stop test >/dev/null
	g_wait
done

# A guest that is far larger than the host.
g_start halt.bin -m 512G
t_stderr_like '^lkvm: .*Guest memory size 524288MB exceeds host physical RAM size [0-9]+MB'
t_ok '-m 512G: little of it is resident' \
	test "$(awk '/^VmRSS:/ { print $2 }' "/proc/$g_pid/status")" -lt 16384
"$LKVM" stop test >/dev/null
g_wait
t_status 0
g_run reset.bin -m 16777215T
t_status 125
t_stderr_like '^lkvm: .*physical address'

# ---- memory from files and of huge pages ----

g_run ram.mb -m 128 -p ram=128 --mem-path "$T_TMP"
t_status 1
t_is 'the file in a folder has no name' "$(find "$T_TMP" -size +1M)" ''
truncate -s 128M "$T_TMP/ram"
g_run ram.mb -m 128 -p ram=128 --mem-path "$T_TMP/ram" --mem-share
t_status 1
t_is 'a shared file holds the RAM' "$(od -An -tx1 -N1 "$T_TMP/ram")" ' 5a'
g_run ram.mb -m 128 -p ram=128 --mem-prealloc
t_status 1
g_run reset.bin --mem-path "$T_TMP/missing/file"
t_status 125
t_stderr_like "^lkvm: .*missing/file.*: No such file or directory"
mkdir "$T_TMP/small"
if mount -t tmpfs -o size=16m tmpfs "$T_TMP/small" 2>/dev/null; then
	for path in small small/new; do
		g_run reset.bin --mem-path "$T_TMP/$path"
		t_status 125
		t_stderr_is "lkvm: Not enough space in '$T_TMP/$path' for 64MB of guest RAM (16MB free)"
		t_is "$t_command: it is left as it was" "$(ls "$T_TMP/small")" ''
	done
	umount "$T_TMP/small"
else
	t_skip 'a file system that is too small' 'mounting a tmpfs needs root'
fi
if [ "$(awk '/^HugePages_Free:/ { print $2 }' /proc/meminfo)" -lt 8192 ]; then
	g_run reset.bin -m 16384 --hugepages=2M
	t_status 125
	t_stderr_like '^lkvm: .*huge page'
else
	t_skip 'too few huge pages' 'this host has 16 GB of free ones'
fi
g_run reset.bin --mem-prealloc -m 1T
t_status 125
t_stderr_like '^lkvm: --mem-prealloc: guest RAM of 1048576MB is more than the [0-9]+MB of '
g_run reset.bin --mem-path "$T_TMP/new"
t_status 0
t_is 'a file that was made for the RAM stays' "$(stat -c %s "$T_TMP/new")" $((64 << 20))

# ---- a hugetlbfs, with pages that the host makes when they are asked for ----

OVERCOMMIT=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_overcommit_hugepages
mkdir "$T_TMP/huge" "$T_TMP/huge-80"
huge_pages=$(cat $OVERCOMMIT 2>/dev/null)
if echo 64 2>/dev/null >$OVERCOMMIT &&
	mount -t hugetlbfs -o pagesize=2M none "$T_TMP/huge" 2>/dev/null &&
	mount -t hugetlbfs -o pagesize=2M,size=80M none "$T_TMP/huge-80"; then
	for kind in --hugepages=2M "--hugepages=2M --mem-share" "--hugetlbfs $T_TMP/huge" \
		"--hugetlbfs $T_TMP/huge-80"; do
		# shellcheck disable=SC2086
		g_run ram.mb -m 64 -p ram=64 $kind
		t_status 1
		# shellcheck disable=SC2086
		g_run reset.bin -m 130 $kind
		t_status 125
		if [[ $kind == *huge-80 ]]; then
			t_stderr_is "lkvm: Not enough space in '$T_TMP/huge-80' for 130MB of guest RAM (80MB free)"
		else
			t_stderr_like '^lkvm: Not enough huge pages for 130MB of guest RAM: 65 of 2MB needed, [0-9]+ free \(of [0-9]+; `sysctl vm.nr_hugepages=[0-9]+` makes more\)$'
		fi
		# shellcheck disable=SC2086
		g_run reset.bin -m 65 $kind
		t_status 125
		t_stderr_like '^lkvm: guest RAM of (65MB cannot be made of 2MB pages|66560KB is not a multiple of a huge page \(2MB\))$'
	done
	t_is 'no file is left in a hugetlbfs' "$(find "$T_TMP"/huge*/ -type f)" ''
	umount "$T_TMP/huge-80"
else
	t_skip 'a hugetlbfs' 'mounting one and making huge pages needs root'
fi
umount "$T_TMP/huge" 2>/dev/null
[ -z "$huge_pages" ] || echo "$huge_pages" 2>/dev/null >$OVERCOMMIT

g_run reset.bin --hugetlbfs "$T_TMP"
t_status 125
t_stderr_like '^lkvm: .*hugetlbfs'
t_is 'nothing is left behind' "$(ls "$LKVM_DIR" 2>/dev/null)" ''
t_done
