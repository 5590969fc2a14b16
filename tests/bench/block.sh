#!/usr/bin/env bash
# block.sh: run by bench.sh. Requests to a block device by a guest program (tests/guest/blk-bench.c),
# on lkvm and on QEMU's microvm, beside the same requests by a host program (tests/bench/aio.c) on the
# same file. They run in turn, LKVM_BENCH_BLOCK_ROUNDS (5) times a few short periods each; the best
# period of each counts, so that other work on this machine counts for little. On a software
# virtualizer much of the guests' time is the guest program's own, the same for both.
#
# What is behind a request is counted by perf, over all of a run less a run of hardly any requests:
#	calls   system calls of all threads
#	wakes   notifications by the guest (eventfd: exits that stay in the kernel)
#	irqs    interrupts (lkvm: writes to an eventfd)
#	exits   returns from KVM to user space
set -euo pipefail
: "${LKVM:?}" "${GUESTS:?}" "${BENCH:?}" "${MICROVM_CPU:?}"
ROUNDS=${LKVM_BENCH_BLOCK_ROUNDS:-5}
BASE=${LKVM_BENCH_BASE:-}
QEMU=$(command -v qemu-system-x86_64 || true)
MB=256
events=(-e raw_syscalls:sys_enter -e syscalls:sys_enter_write -e kvm:kvm_userspace_exit)

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
disk=$work/disk
head -c 256M /dev/urandom >"$disk"

count=()
if perf stat -x , -o "$work/perf" "${events[@]}" true 2>/dev/null; then
	count=(perf stat -x "," -o "$work/perf" "${events[@]}")
else
	echo "  (perf cannot count system calls here: these columns are empty)"
fi

# one PROGRAM PARAMETERS: run it once; its periods go to $work/PROGRAM.periods, its counts and their
# requests to $work/PROGRAM.counts
one()
{
	local command=() direct=0 status=0
	case " $2 " in *" direct=1 "*) direct=1 ;; esac
	case $1 in
	host) command=("$BENCH/aio" "$disk" "$2") ;;
	lkvm | before)
		command=("$LKVM")
		[ "$1" = lkvm ] || command=("$BASE")
		command+=(run --debug-exit -c 1 -m "$MB" -k "$GUESTS/blk-bench.pvh" -p "$2")
		if [ $direct -eq 1 ]; then command+=(-d "$disk,direct"); else command+=(-d "$disk"); fi
		;;
	qemu) # with what it has for speed: a thread for the device, and Linux AIO where it can
		local drive=if=none,id=disk,format=raw,file=$disk
		[ $direct -eq 0 ] || drive+=,cache.direct=on,aio=native
		command=("$QEMU" -M microvm -accel kvm -cpu "$MICROVM_CPU" -m "$MB" -nodefaults -no-user-config
			-display none -no-reboot -serial stdio -device "isa-debug-exit,iobase=0xf4"
			-global virtio-mmio.force-legacy=false -object "iothread,id=worker" -drive "$drive"
			-device "virtio-blk-device,drive=disk,iothread=worker"
			-kernel "$GUESTS/blk-bench.pvh" -append "$2")
		;;
	esac
	: >"$work/perf"
	timeout 120 "${count[@]}" "${command[@]}" </dev/null >"$work/out" 2>"$work/errors" || status=$?
	[ "$status" -le 1 ] || { # a guest of ours ends with 0 or 1 (--debug-exit)
		echo "  $1 failed: status $status: $(tail -n 1 "$work/errors")"
		return 1
	}
	tr -d '\r' <"$work/out" | grep -E '^[0-9]+ [0-9]+ [0-9]+$' >"$work/new" || true
	cat "$work/new" >>"$work/$1.periods"
	awk -F '[ ,]' -v out="$work/new" '
		FILENAME == out { n += $1; wakes += $3; next }
		/sys_enter,/ { calls = $1 } /sys_enter_write/ { writes = $1 } /userspace_exit/ { exits = $1 }
		END { print n + 0, calls + 0, wakes + 0, writes + 0, exits + 0 }' \
		"$work/new" "$work/perf" >>"$work/$1.counts"
}

# best PROGRAM: requests in 10^9 cycles in its best period
best()
{
	awk '$1 / $2 > best { best = $1 / $2 } END { printf "%.3f", best * 1e9 }' "$work/$1.periods"
}

# behind PROGRAM: calls, wakes, irqs, exits of a request. The first line is of the run of hardly any.
behind()
{
	awk 'NR == 1 { for (i = 1; i <= 5; i++) few[i] = $i; next }
		{ for (i = 1; i <= 5; i++) sum[i] += $i - few[i] }
		END {
			for (i = 2; i <= 5; i++)
				printf "%.3f ", (sum[i] > 0 && sum[1] > 0) ? sum[i] / sum[1] : 0
			print ""
		}' "$work/$1.counts"
}

programs=(host lkvm ${BASE:+before} ${QEMU:+qemu})

# drop PROGRAM: a peer that fails has no column; without the others there is no table
drop()
{
	[ "$1" = qemu ] || exit 1
	QEMU='' programs=(host lkvm ${BASE:+before})
}

# over PROGRAM: lkvm's rate as a multiple of the program's; nothing if it is not measured
over()
{
	[ -z "${rate[$1]-}" ] || awk -v a="${rate[lkvm]}" -v b="${rate[$1]}" 'BEGIN { printf "%.2f", a / b }'
}

# shape TITLE DEPTH BYTES RANDOM WRITE DIRECT: one line of the table
shape()
{
	local program round calls wakes irqs exits qemu_calls=''
	local -A rate=()
	local what="depth=$2 bytes=$3 random=$4 write=$5 direct=$6 periods=3"
	rm -f "$work"/*.periods "$work"/*.counts
	for program in "${programs[@]}"; do
		one "$program" "$what cycles=0" || drop "$program"
	done
	for ((round = 0; round < ROUNDS; round++)); do
		for program in "${programs[@]}"; do
			one "$program" "$what cycles=200000000" || drop "$program"
		done
	done
	for program in "${programs[@]}"; do
		rate[$program]=$(best "$program")
	done
	read -r calls wakes irqs exits < <(behind lkvm)
	[ -z "$QEMU" ] || read -r qemu_calls _ < <(behind qemu)
	printf '  %-26s %9.0f %9.0f %6s %9s %8s %8s   %6s %6s %6s %6s %10s\n' "$1" \
		"$(hertz "${rate[host]}")" "$(hertz "${rate[lkvm]}")" "$(over host)" \
		"$([ -z "$QEMU" ] || printf '%.0f' "$(hertz "${rate[qemu]}")")" "$(over qemu)" "$(over before)" \
		"$calls" "$wakes" "$irqs" "$exits" "$qemu_calls"
	[ "$2" -lt 32 ] || calls_at_32+=("$calls")
}

# hertz RATE: requests in 10^9 cycles as requests a second
hertz()
{
	awk -v rate="$1" -v hz="$cycles_per_second" 'BEGIN { printf "%.0f", rate * hz / 1e9 }'
}

cycles_per_second=$("$BENCH/aio" "$disk" "periods=3 cycles=200000000" | tail -n 1)
calls_at_32=()
for direct in 0 1; do
	[ $direct -eq 0 ] && echo "  through the page cache" || echo "  O_DIRECT"
	printf '  %-26s %9s %9s %6s %9s %8s %8s   %6s %6s %6s %6s %10s\n' '' 'host/s' 'lkvm/s' 'x host' 'microvm/s' \
		'lkvm x' "${BASE:+x before}" calls wakes irqs exits 'its calls'
	for write in 0 1; do
		word='read'
		[ $write -eq 0 ] || word='write'
		shape "4 KiB random $word, 1" 1 4096 1 $write $direct
		shape "4 KiB random $word, 32" 32 4096 1 $write $direct
		shape "1 MiB sequential $word, 4" 4 1048576 0 $write $direct
	done
done
[ ${#count[@]} -eq 0 ] || printf '%s\n' "${calls_at_32[@]}" | sort -g | tail -n 1 | awk '{
	printf "  aim: system calls of a request at depth 32 below 0.2: at most %s, %s\n", $1, ($1 < 0.2) ? "met" : "missed" }'
