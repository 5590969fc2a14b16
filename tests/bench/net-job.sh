#!/usr/bin/env bash
# net-job.sh MIB REQUESTS "PROGRAM ROW"...: the part of net.sh in the emulated host, whose root is this machine's tree. PROGRAM
# is VMM-END or VMM[-vhost]-packets; what one measures stands together. Lines on standard output, of one MiB, request or
# packet; the last three in hundredths:
#	figures PROGRAM ROW NANOSECONDS EXITS IRQS CALLS
set -u
mib=$1 requests=$2
shift 2
debug=/sys/kernel/debug
mountpoint -q $debug || mount -t debugfs debug $debug
calls=$debug/tracing/events/raw_syscalls/sys_enter
echo 'hist:keys=common_pid:size=4096' >"$calls/trigger"
ip link set lo up
ip tuntap add tapb mode tap
ip addr add 10.78.0.1/24 dev tapb
ip link set tapb up

# counts PID: exits, interrupts and system calls so far
counts()
{
	local tasks
	tasks=$(cd "/proc/$1/task" && echo *)
	echo "$(cat "$debug"/kvm/"$1"-*/exits) $(cat "$debug"/kvm/"$1"-*/irq_injections) $(
		awk -v tasks=" $tasks " '/common_pid:/ {
			gsub(/[^0-9 ]/, " ")
			if (index(tasks, " " $1 " "))
				n += $2
		}
		END { print n + 0 }' "$calls/hist"
	)"
}

amount() { case $1 in request-*) echo "$requests" ;; packets) echo $((requests * 100)) ;; *) echo "$mib" ;; esac; }

# words FAMILY ADDRESS PORT ROW...: what a guest is told
words()
{
	local list="wire:$1:$2:$3" between=: row
	shift 3
	for row; do
		list="$list$between$row:$(amount "$row")"
		between=+
	done
	echo "$list"
}

# guest NAME WORDS OPTION...: of this VMM; OPTION is what it needs beside kernel and words
guest()
{
	local name=$1 words="cryptomgr.notests quiet lkvm.test=$2,poweroff"
	shift 2
	case $vmm in
	lkvm) exec "$LKVM" run --name "$name" -c 1 -m 256 -k "$KERNEL" -i "$INITRD" -p "$words" "$@" ;;
	qemu)
		exec qemu-system-x86_64 -M microvm,pcie=on -accel kvm -cpu "$MICROVM_CPU" -m 256 -nodefaults -no-user-config \
			-display none -no-reboot -serial stdio -kernel "$KERNEL" -initrd "$INITRD" -append "console=ttyS0 $words" "$@"
		;;
	esac
}

nic=virtio-net-pci,netdev=n,mac=02:00:00:00:00

# options END: as $options
options()
{
	case $vmm-$1 in
	lkvm-tap) options=(-n "tap,ifname=tapb,mac=02:00:00:00:00:01") ;;
	lkvm-vhost) options=(-n "tap,ifname=tapb,mac=02:00:00:00:00:01,vhost=on") ;;
	qemu-tap) options=(-netdev "tap,id=n,ifname=tapb,script=no,downscript=no" -device "$nic:01") ;;
	qemu-vhost) options=(-netdev "tap,id=n,ifname=tapb,script=no,downscript=no,vhost=on" -device "$nic:01") ;;
	lkvm-user) options=(-n "user,mac=02:00:00:00:00:01") ;;
	qemu-user) options=(-netdev "user,id=n" -device "$nic:01") ;;
	lkvm-switch) options=(-n "switch=bench,mac=02:00:00:00:00:01") ;;
	qemu-switch) options=(-netdev "stream,id=n,server=off,addr.type=unix,addr.path=$work/switch" -device "$nic:01") ;;
	lkvm-vsock) options=(--vsock 7) ;;
	qemu-vsock) options=(-device "vhost-vsock-pci,guest-cid=7") ;;
	esac
}

# The other guest of a switch, which serves
other()
{
	local there=(-n "switch=bench,mac=02:00:00:00:00:02")
	[ "$vmm" = lkvm ] || there=(-netdev "stream,id=n,server=on,addr.type=unix,addr.path=$work/switch" -device "$nic:02")
	guest other "net:10.78.0.1,serve:tcp:10.78.0.1:5000" "${there[@]}" </dev/null >other.out 2>other.err &
	until grep -q 'guest: serves' other.out; do
		kill -0 $! || return
		sleep 0.2
	done
}

# serve FAMILY ADDRESS PORT
serve() { "$BENCH/wire" serve "$@" & }

# follow PID: the guest's lines from standard input; figures come out
follow()
{
	local line row before after began='' ns n
	while read -r line; do
		line=${line%$'\r'}
		case $line in
		"guest: begin "*)
			row=${line##* }
			[ "$row" = packets ] || sleep 0.5
			before=$(counts "$1")
			;;
		"guest: go") began=$EPOCHREALTIME ;;
		"guest: wire: "*)
			read -r _ _ row ns <<<"$line"
			n=$(amount "$row")
			[ "$row" != packets ] || ns=$(((${EPOCHREALTIME/[^0-9]/} - ${began/[^0-9]/}) * 1000 / n))
			after=$(counts "$1")
			echo "$before $after" | awk -v row="$program $row" -v ns="$ns" -v n="$n" '{
				printf "figures %s %s %.0f %.0f %.0f\n", row, ns, ($4 - $1) * 100 / n, ($5 - $2) * 100 / n, ($6 - $3) * 100 / n
			}'
			;;
		"guest: "*) echo "$line" ;;
		esac
	done
}

wires()
{
	local list pid
	case $end in
	tap | vhost)
		serve tcp 10.78.0.1 5000
		list="net:10.78.0.2,$(words tcp 10.78.0.1 5000 "$@")"
		;;
	user)
		serve tcp 127.0.0.1 5000
		list="net:10.0.2.15,$(words tcp 10.0.2.2 5000 "$@")"
		;;
	switch)
		other || return
		list="net:10.78.0.2,$(words tcp 10.78.0.1 5000 "$@")"
		;;
	vsock)
		if [ "$vmm" = lkvm ]; then
			serve unix "$LKVM_DIR/bench.vsock_5000" 0
		else
			serve vsock 4294967295 5000
		fi
		list=$(words vsock 2 5000 "$@")
		;;
	esac
	options "$end"
	mkfifo console
	guest bench "$list" "${options[@]}" </dev/null >console 2>errors &
	pid=$!
	follow "$pid" <console
	wait "$pid"
}

# The guest that does nothing but send
packets()
{
	local params pid keys=''
	params=packets=$(amount packets)
	mkfifo console
	[ "$end" = packets ] || keys=,vhost=on
	case $vmm in
	lkvm) exec "$LKVM" run --debug-exit -c 1 -m 256 -k "$GUESTS/net-bench.pvh" -p "$params" -n "tap,ifname=tapb$keys" ;;
	qemu)
		exec qemu-system-x86_64 -M microvm -accel kvm -cpu "$MICROVM_CPU" -m 256 -nodefaults -no-user-config -display none \
			-no-reboot -serial stdio -device isa-debug-exit,iobase=0xf4 -global virtio-mmio.force-legacy=false \
			-netdev "tap,id=n,ifname=tapb,script=no,downscript=no$keys" -device virtio-net-device,netdev=n \
			-kernel "$GUESTS/net-bench.pvh" -append "$params"
		;;
	esac </dev/null >console 2>errors &
	pid=$!
	follow "$pid" <console
	wait "$pid"
}

# measure PROGRAM ROW...: in a folder of its own; nothing of it is left
measure()
{
	program=$1 vmm=${1%%-*} end=${1#*-} work=/tmp/bench-$1
	shift
	rm -rf "$work" && mkdir "$work" && mkdir -m 700 "$work/sockets"
	cd "$work" || return
	export HOME=$work LKVM_DIR=$work/sockets
	{
		case $end in
		*packets) packets ;;
		*) wires "$@" ;;
		esac
		# shellcheck disable=SC2046 # numbers
		kill $(jobs -p)
		wait
	} 2>/dev/null | tee figures
	[ "$(grep -c '^figures ' figures)" -eq $# ] || {
		echo "net-job: $program did not end well:"
		tail -n 5 errors other.out other.err 2>/dev/null
		return 1
	}
}

status=0
while [ $# -gt 0 ]; do
	program=${1% *} rows=()
	while [ $# -gt 0 ] && [ "${1% *}" = "$program" ] && [[ " ${rows[*]} " != *" ${1#* } "* ]]; do
		rows+=("${1#* }")
		shift
	done
	(measure "$program" "${rows[@]}") || status=1
done
exit "$status"
