#!/usr/bin/env bash
# gdb.sh: run by bench.sh. What a debugger waits for, with the stubs of lkvm and of QEMU's microvm in turn: the same
# guest, the same client (gdb.c). The least of LKVM_BENCH_GDB_ROUNDS (5). Prints a line a VMM: its name, and
# nanoseconds for 1 MiB of memory and for 1000 single steps.
set -euo pipefail
: "${LKVM:?}" "${GUESTS:?}" "${BENCH:?}" "${MICROVM_CPU:?}"
rounds=${LKVM_BENCH_GDB_ROUNDS:-5}
tmp=$(mktemp -d)
pid=
trap '[ -z "$pid" ] || kill -KILL $pid 2>/dev/null; rm -rf "$tmp"' EXIT
export LKVM_DIR=$tmp/sockets

# measure NAME COMMAND...: a guest of its own, whose stub listens at $tmp/socket
measure()
{
	local name=$1 i
	shift
	rm -f "$tmp/socket" "$tmp/out"
	"$@" </dev/null >"$tmp/out" 2>"$tmp/err" &
	pid=$!
	for ((i = 0; i < 500; i++)); do
		[ -S "$tmp/socket" ] && grep -q ready "$tmp/out" && break
		sleep 0.02
	done
	if ! "$BENCH/gdb" "$tmp/socket" >>"$tmp/$name"; then
		cat "$tmp/err" >&2
		exit 1
	fi
	kill -KILL $pid
	wait $pid 2>/dev/null || true
	pid=
}

qemu=$(command -v qemu-system-x86_64 || true)
for ((round = 0; round < rounds; round++)); do
	measure lkvm "$LKVM" run -c 1 -m 64 -k "$GUESTS/spin.pvh" "--gdb=unix:$tmp/socket"
	[ -z "$qemu" ] || measure qemu "$qemu" -M microvm -accel kvm -cpu "$MICROVM_CPU" -m 64 -nodefaults -no-user-config \
		-display none -no-reboot -serial stdio -kernel "$GUESTS/spin.pvh" -gdb "unix:$tmp/socket,server=on,wait=off"
done
for name in lkvm qemu; do
	[ ! -e "$tmp/$name" ] || awk -v name=$name '
		NR == 1 || $1 < memory { memory = $1 }
		NR == 1 || $2 < steps { steps = $2 }
		END { print name, memory, steps }' "$tmp/$name"
done
