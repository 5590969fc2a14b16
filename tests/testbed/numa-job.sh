#!/usr/bin/env bash
# The tests of tests/testbed/numa.sh, where KVM can run Linux. $CLOUD and $GENERIC are kernels of Debian.
tests="
n256       1, 2 and 4 nodes of 256 MB: numactl, /proc/zoneinfo, /sys/devices/system/node
n3328      the same of 3328 MB, which end where the gap begins
n4096      the same of 4096 MB, around the gap
n8192      the same of 8192 MB
uneven     a node without memory, one without CPUs, distances, latency and bandwidth
tree       nodes without ACPI, of the MP table and the device tree, do no harm
sockets    2 sockets of 2 cores of 2 threads: lscpu, caches
dies       2 dies of 2 cores of 2 threads
offline    CPUs are switched off and on again
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"
per_guest=1500

# nodes_of MB N: an option for each of N nodes, and of N CPUs
nodes_of()
{
	local i
	for ((i = 0; i < $2; i++)); do
		echo --numa "mem=$(($1 / $2)),cpus=$i"
	done
}

# present FILE: the megabytes of each node that are there, rounded up, as "128 128 "
present()
{
	awk '/^Node/ { node = $2 + 0 } $1 == "present" { sum[node] += $2 }
		END { for (i = 0; i in sum; i++) printf "%d ", int((sum[i] * 4096 + 1048575) / 1048576) }' "$1"
}

# distances N: what numactl shows of N nodes that are all as far from each other
distances()
{
	local i j
	for ((i = 0; i < $1; i++)); do
		printf '%d:' "$i"
		for ((j = 0; j < $1; j++)); do
			printf ' %d' $((i == j ? 10 : 20))
		done
		echo
	done
}

# some_nodes MB N
some_nodes()
{
	local name=n$1.$2 i each=
	for ((i = 0; i < $2; i++)); do
		each+="$(($1 / $2)) "
	done
	# shellcheck disable=SC2046
	run "$name" -k "$CLOUD" -m "$1" -c "$2" $(nodes_of "$1" "$2") -- sh -c 'numactl -H >&2; cat /proc/zoneinfo' </dev/null
	expect_status "$name" 0
	expect "memory of $2 nodes: $(present "$name.out")" [ "$(present "$name.out")" = "$each" ]
	expect "CPUs of $2 nodes" [ "$(sed -n 's/^node [0-9]* cpus: //p' "$name.err")" = "$(seq 0 $(($2 - 1)))" ]
	expect "distances of $2 nodes" [ "$(sed -nE 's/^ +([0-9]+:) +/\1 /p' "$name.err" | tr -s ' ' | sed 's/ $//')" = "$(distances "$2")" ]
}

# sizes MB: a guest is over before the next one begins
sizes()
{
	local n
	for n in 1 2 4; do
		some_nodes "$1" $n
	done
}

test_n256() { sizes 256; }
test_n3328() { sizes 3328; }
test_n4096() { sizes 4096; }
test_n8192() { sizes 8192; }

test_uneven()
{
	run uneven -k "$CLOUD" -m 384 -c 3 \
		--numa mem=256,cpus=0,dist=10:15:30,latency=100:150:300,bandwidth=8000:4000:2000 \
		--numa cpus=1-2,dist=15:10:40,latency=150:100:400,bandwidth=4000:8000:1000 \
		--numa mem=128,dist=30:40:10 -- sh -c '
		cd /sys/devices/system/node
		for n in 0 1 2; do echo "$n: $(cat node$n/cpulist) $(cat node$n/distance)"; done
		echo "memory $(cat has_memory) CPUs $(cat has_cpu)"
		for f in node0/access0/initiators/*_latency node0/access0/initiators/*_bandwidth node2/access0/initiators/*_latency; do
			echo "$f $(cat $f)"
		done
		ls -d node2/access0/initiators/node*
		cat /proc/zoneinfo >&2' </dev/null
	expect_status uneven 0
	expect "memory: $(present uneven.err)" [ "$(present uneven.err)" = "256 0 128 " ]
	expect_text uneven.out "0: 0 10 15 30
1: 1-2 15 10 40
2:  30 40 10
memory 0,2 CPUs 0-1
node0/access0/initiators/read_latency 100
node0/access0/initiators/write_latency 100
node0/access0/initiators/read_bandwidth 8000
node0/access0/initiators/write_bandwidth 8000
node2/access0/initiators/read_latency 300
node2/access0/initiators/write_latency 300
node2/access0/initiators/node0"
}

# Debian's kernels know no NUMA without ACPI: all memory is one node's then, all of it.
test_tree()
{
	run tree -k "$GENERIC" -m 256 -c 2 --no-acpi --numa mem=128,cpus=0 --numa mem=128,cpus=1 -- cat /proc/zoneinfo </dev/null
	expect_status tree 0
	expect "memory: $(present tree.out)" [ "$(present tree.out)" = "256 " ]
}

# arranged NAME CPUS LSCPU: what lscpu says of each CPU's socket, core and L1d, L1i, L2 and L3 caches
arranged()
{
	run "$1" -k "$CLOUD" -m 384 -c "$2" -- sh -c 'lscpu -p=CPU,SOCKET,CORE,CACHE | grep -v "^#"
		grep . /sys/devices/system/cpu/cpu*/topology/die_id /sys/devices/system/cpu/cpu*/topology/thread_siblings_list \
			/sys/devices/system/cpu/cpu*/cache/index3/shared_cpu_list >&2' </dev/null
	expect_status "$1" 0
	expect_text "$1.out" "$3"
}

# shared NAME FILE LIST: of all CPUs, in the order of their numbers
shared()
{
	expect "$2 of $1: $3" [ "$(sort -V "$1.err" | sed -n "s,^/sys.*/$2:,,p" | tr '\n' ' ')" = "$3 " ]
}

test_sockets()
{
	arranged sockets 8,sockets=2,cores=2,threads=2 "0,0,0,,0,0,0,0
1,0,0,,0,0,0,0
2,0,1,,1,1,1,0
3,0,1,,1,1,1,0
4,1,2,,2,2,2,1
5,1,2,,2,2,2,1
6,1,3,,3,3,3,1
7,1,3,,3,3,3,1"
	shared sockets thread_siblings_list "0-1 0-1 2-3 2-3 4-5 4-5 6-7 6-7"
	shared sockets cache/index3/shared_cpu_list "0-3 0-3 0-3 0-3 4-7 4-7 4-7 4-7"
}

test_dies()
{
	arranged dies 8,dies=2,cores=2,threads=2 "0,0,0,,0,0,0,0
1,0,0,,0,0,0,0
2,0,1,,1,1,1,0
3,0,1,,1,1,1,0
4,0,2,,2,2,2,1
5,0,2,,2,2,2,1
6,0,3,,3,3,3,1
7,0,3,,3,3,3,1"
	shared dies topology/die_id "0 0 0 0 1 1 1 1"
	shared dies cache/index3/shared_cpu_list "0-3 0-3 0-3 0-3 4-7 4-7 4-7 4-7"
}

test_offline()
{
	run offline -k "$CLOUD" -m 256 -c 3 -- sh -c '
		for i in 1 2 3; do
			for cpu in 1 2; do
				echo 0 >/sys/devices/system/cpu/cpu$cpu/online
			done
			cat /sys/devices/system/cpu/online
			for cpu in 2 1; do
				echo 1 >/sys/devices/system/cpu/cpu$cpu/online
			done
			taskset -c 2 true && cat /sys/devices/system/cpu/online
		done' </dev/null
	expect_status offline 0
	expect_text offline.out "0
0-2
0
0-2
0
0-2"
}

run_tests "$@"
rm -rf "$work"
