#!/usr/bin/env bash
# NUMA nodes: what the machine is, where its RAM comes from on the host, and what a snapshot keeps of it; --pin.
# shellcheck source=tests/functional/snapshot.bash
. "${0%/*}/snapshot.bash"

kernel=$GUESTS/bzimage.bz

# ---- the table: 1, 2 and 4 nodes of each size, as the memory map has them ----

# nodes_of MB N: an option for each of N nodes, and of N CPUs
nodes_of()
{
	local i
	for ((i = 0; i < $2; i++)); do
		echo --numa mem=$(($1 / $2)),cpus=$i
	done
}

for mb in 256 3328 4096 8192; do
	for n in 1 2 4; do
		# shellcheck disable=SC2046
		t_run "$LKVM" run --dry-run -m $mb -c $n $(nodes_of $mb $n) -k "$kernel"
		t_status 0
		t_is "$n nodes of ${mb}MB: each byte is in one, in order" "$(t_stdout |
			awk '/^NUMA nodes/ { on = 1; next } !NF { on = 0 } on { print $1, $3 }' |
			while read -r range node; do
				echo $((node)) $(((${range#*-} - ${range%-*} + 1) >> 20))
			done | awk '{ sum[$1] += $2 } END { for (i = 0; i in sum; i++) printf "%d ", sum[i] }')" \
			"$(for ((i = 0; i < n; i++)); do echo -n "$((mb / n)) "; done)"
		t_is "$n nodes of ${mb}MB: none is in the gap" "$(t_stdout |
			awk '/^NUMA nodes/ { on = 1; next } !NF { on = 0 } on { print $1 }' |
			while read -r range; do
				[[ ${range%-*} < 0x0000d0000000 && ${range#*-} < 0x0000d0000000 ]] ||
					[[ ! ${range%-*} < 0x000100000000 ]] || echo "$range"
			done)" ''
	done
done

# ---- what is refused ----

t_fails 125 "--numa: CPU 1 is in no node" "$LKVM" run --dry-run -c 2 --numa mem=64,cpus=0 -k "$kernel"
t_fails 125 "--numa: node 0: the host has no node 1000" \
	"$LKVM" run --dry-run -c 1 --numa mem=64,cpus=0,host=1000 -k "$kernel"
t_fails 125 "option '--pin': '0-' is no list of the host's CPUs (0-3,8)" "$LKVM" run --pin 0- -k "$kernel"
t_fails 125 "--pin: vCPU 0 on the host's CPU 1023: Invalid argument" \
	"$LKVM" run --debug-exit -m 64 -c 1 --pin 1023 -k "$GUESTS/reset.bin"

# ---- on the host ----

# A host whose kernel has no NUMA has no such file, and refuses to bind.
if [ -e /proc/self/numa_maps ]; then
	begin halt.bin -m 96 -c 2 --pin 0 --numa mem=64,cpus=0,host=0 --numa mem=32,cpus=1,host=0,policy=interleave
	until_true "$LKVM" stat test >/dev/null 2>&1
	t_is 'RAM is bound as it was asked for' \
		"$(awk '$2 ~ /^(bind|interleave)/ { print $2 }' "/proc/$g_pid/numa_maps" | sort | tr '\n' ' ')" \
		'bind:0 interleave:0 '
	t_run "$LKVM" debug --memmap test
	t_stdout_like '^  0x000000000000-0x000003ffffff  node 0, bind host=0$'
	t_stdout_like '^  0x000004000000-0x000005ffffff  node 1, interleave host=0$'
	t_run "$LKVM" debug --memmap --json test
	t_is 'as JSON' "$(t_stdout | jq -c '.numa[1]')" \
		'{"start":"0x4000000","size_bytes":33554432,"node":1,"host":"interleave host=0"}'
	for thread in /proc/"$g_pid"/task/*; do
		[[ $(<"$thread/comm") != vcpu/* ]] || grep Cpus_allowed_list "$thread/status"
	done >pinned
	t_is 'each vCPU runs where it was pinned to' "$(cut -f 2 pinned | tr '\n' ' ')" '0 0 '

	# ---- a snapshot ----

	t_run "$LKVM" snapshot test saved
	t_status 0
	t_run "$LKVM" stop test
	g_wait
	exec 4>&-
	t_fails 125 "the machine in 'saved' has 2 NUMA nodes, not 1 (--numa)" \
		"$LKVM" run --restore saved --numa mem=96,cpus=0-1
	t_fails 125 "the machine in 'saved' has other NUMA nodes (--numa)" \
		"$LKVM" run --restore saved --numa mem=64,cpus=1 --numa mem=32,cpus=0
	t_fails 125 "the machine in 'saved' has 1 sockets of 1 dies of 2 cores of 1 threads (--cpus)" \
		"$LKVM" run --restore saved -c 2,threads=2
	go_on --restore saved --numa host=0 --numa policy=preferred,host=0
	until_true "$LKVM" stat test >/dev/null 2>&1
	t_run "$LKVM" debug --memmap test
	t_stdout_like '^  0x000000000000-0x000003ffffff  node 0, bind host=0$'
	t_stdout_like '^  0x000004000000-0x000005ffffff  node 1, preferred host=0$'
	t_run "$LKVM" stop test
	g_wait
	exec 4>&-
else
	t_fails 125 "--numa: node 0: the host has no node 0" \
		"$LKVM" run --dry-run -c 1 --numa mem=64,cpus=0,host=0 -k "$kernel"
fi
t_done
