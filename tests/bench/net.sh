#!/usr/bin/env bash
# net.sh net|vsock|packets: run by bench.sh. What passes a guest's network device, or its vsock, on lkvm and on QEMU's
# microvm with the same back end, one after the other in an emulated host with one CPU, whose clock counts instructions: so
# a figure is the work in the guest, the VMM and the host's kernel together, whatever else this machine does, and one
# run of each is enough. Two guests at once, of a switch, make such a host stand still nearly always: theirs is a host with
# a common clock, in which they take turns three times, and the shortest time of each counts. The programs at both ends are
# tests/bench/wire.c, by one TCP connection, or vsock stream; of `packets` it is a guest that does nothing but send
# (tests/guest/net-bench.c).
#
#	to host, from host    MiB a second
#	1 B, 1 KiB            requests with their answers, a second, one at a time
#	exits, irqs, calls    behind each request of 1 byte: exits of the guest, interrupts that it is given, by
#	                      KVM's counters, and system calls of the VMM, by the host's kernel
#
# LKVM_BENCH_NET="lkvm-tap qemu-tap" measures only these; LKVM_BENCH_NET_MIB (16) and LKVM_BENCH_NET_REQUESTS (500) say how much.
set -euo pipefail
: "${LKVM:?}" "${BENCH:?}" "${GUESTS:?}" "${MICROVM_CPU:?}"
here=$(cd "$(dirname "$0")" && pwd)
testbed=$here/../testbed
table=$1
MIB=${LKVM_BENCH_NET_MIB:-16} REQUESTS=${LKVM_BENCH_NET_REQUESTS:-500}

case $table in
net)
	programs=(lkvm-tap qemu-tap lkvm-vhost qemu-vhost lkvm-user qemu-user lkvm-switch qemu-switch)
	rows=(send receive request-1 request-1024)
	;;
vsock)
	programs=(lkvm-vsock qemu-vsock)
	rows=(send receive request-1 request-1024)
	;;
packets)
	programs=(lkvm-packets lkvm-vhost-packets qemu-packets qemu-vhost-packets)
	rows=(packets)
	;;
esac
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
if [ "$table" != packets ]; then
	folder=$("$testbed/kernels.sh" cloud)
	KERNEL=$(echo "$folder"/boot/vmlinuz-*)
	INITRD=$BENCH/wire-initrd # the emulated host has a /tmp of its own
	export KERNEL INITRD
	"$testbed/initrd.sh" guest "$work/guest"
	"$testbed/initrd.sh" modules "$work/modules" "$folder" virtio_pci virtio_net vmw_vsock_virtio_transport
	"$testbed/initrd.sh" programs "$work/programs" "$BENCH/wire"
	mkdir -p "$work/root/words"
	cp "$here/guest-wire" "$work/root/words/wire"
	cp "$testbed/guest-net" "$work/root/words/net"
	(cd "$work/root" && find . | busybox cpio -o -H newc -R 0:0 2>/dev/null) >"$work/words"
	{ gzip -dc "$work/guest" && cat "$work/modules" "$work/programs" "$work/words"; } >"$INITRD"
fi

# missing: what was not measured yet, a line each: PROGRAM ROW
missing()
{
	local program row
	for program in "${programs[@]}"; do
		for row in "${rows[@]}"; do
			grep -q "^$program $row " "$work/lines" || echo "$program $row"
		done
	done
}

# by_clock: the programs of a switch
by_clock()
{
	local round row program turns=()
	for round in 1 2 3; do
		for program in "${programs[@]}"; do
			[[ $program == *-switch ]] || continue
			for row in "${rows[@]}"; do
				turns+=("$program $row")
			done
		done
	done
	[ ${#turns[@]} -gt 0 ] || return 0
	echo "net: the switch, $round times" >&2
	"$testbed/host.sh" --tree --timeout 3600 --module tun -- "$here/net-job.sh" "$MIB" "$REQUESTS" "${turns[@]}" >"$work/out" || {
		echo "net: the switch failed:" >&2
		tail -n 8 "$work/out" | sed 's/^/  /' >&2
	}
	figures | sort -k 1,2 -k 3,3n | awk '!seen[$1, $2]++' >>"$work/lines"
}

# figures: of the host's output
figures() { tr -d '\r' <"$work/out" | sed -n 's/^figures \([a-z0-9-]* [a-z0-9-]* [0-9]* [0-9]* [0-9]* [0-9]*\)$/\1/p'; }

# measure: as fs.sh does it, and for its reason: a host that stands still is started again for the rest, which begins
# with what it has not stood still at.
measure()
{
	local attempt left
	for ((attempt = 1; attempt <= 6; attempt++)); do
		mapfile -t left < <(missing)
		[ ${#left[@]} -gt 0 ] || return 0
		[ $((attempt % 2)) -eq 1 ] || mapfile -t left < <(missing | tac)
		"$testbed/host.sh" --tree --icount --attempts 1 --silence 60 --timeout 7200 --module tun --module vhost_net \
			--module vhost_vsock -- "$here/net-job.sh" "$MIB" "$REQUESTS" "${left[@]}" >"$work/out" || {
			echo "net: attempt $attempt failed:" >&2
			tail -n 8 "$work/out" | sed 's/^/  /' >&2
		}
		figures >>"$work/lines"
	done
	missing | sed 's/^/net: not measured: /' >&2
	return 1
}

# The lines are: PROGRAM ROW NANOSECONDS EXITS IRQS CALLS, of one MiB, request or packet
print_table()
{
	awk -v programs="${programs[*]}" -v table="$table" '
		{ ns[$1, $2] = $3; exits[$1, $2] = $4 / 100; irqs[$1, $2] = $5 / 100; calls[$1, $2] = $6 / 100 }
		function rate(p, row) { return ((p, row) in ns) ? sprintf("%.0f", 1e9 / ns[p, row]) : "failed" }
		function behind(p, row) {
			return ((p, row) in ns) ? sprintf("%8.2f %8.2f %8.2f", exits[p, row], irqs[p, row], calls[p, row]) : ""
		}
		function aim(p, row, title,   peer, x) {
			peer = p
			sub(/^lkvm/, "qemu", peer)
			if (!((p, row) in ns) || !((peer, row) in ns)) {
				if ((p, row) in ns || (peer, row) in ns)
					printf "  aim: %s, %s at least %s: one of them failed, missed\n", p, title, peer
				return
			}
			x = ns[peer, row] / ns[p, row]
			printf "  aim: %s, %s at least 1 times %s: %.2f, %s\n", p, title, peer, x, (x >= 1 ? "met" : "missed")
		}
		END {
			n = split(programs, name)
			if (table == "packets")
				printf "  %-20s %12s %8s %8s %8s\n", "", "packets/s", "exits", "irqs", "calls"
			else
				printf "  %-14s %9s %9s %9s %9s %8s %8s %8s\n", "", "to host", "from host", "1 B", "1 KiB", "exits", "irqs", "calls"
			for (i = 1; i <= n; i++)
				if (table == "packets")
					printf "  %-20s %12s %s\n", name[i], rate(name[i], "packets"), behind(name[i], "packets")
				else
					printf "  %-14s %9s %9s %9s %9s %s\n", name[i], rate(name[i], "send"), rate(name[i], "receive"),
						rate(name[i], "request-1"), rate(name[i], "request-1024"), behind(name[i], "request-1")
			for (i = 1; i <= n; i++) {
				if (name[i] !~ /^lkvm/)
					continue
				aim(name[i], "packets", "packets")
				aim(name[i], "send", "to host")
				aim(name[i], "receive", "from host")
				aim(name[i], "request-1", "1 B")
				aim(name[i], "request-1024", "1 KiB")
			}
		}' "$work/lines"
}

status=0
: >"$work/lines"
read -r -a programs <<<"${LKVM_BENCH_NET:-${programs[*]}}"
by_clock
measure || status=$?
print_table
exit "$status"
