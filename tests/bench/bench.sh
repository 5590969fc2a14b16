#!/usr/bin/env bash
# bench.sh [startup|memory|serial|snapshot|dump|gdb|trace|block|fio|fs|boot|session|vng|savevm|net|vsock|net-packets|cpus|screen]...: run by `make bench`, which sets LKVM, GUESTS and BENCH.
# Prints tables; every comparison is between commands that were run in turn. LKVM_BENCH_ROUNDS (50)
# is how often. LKVM_BENCH_BASE names another build of lkvm: it has a row beside this one's in startup, memory,
# serial, trace and boot, a column in block, and in fs what it costs in times of this one. Ends with one line: which aims are met and which missed.
#
# Tables that need this machine's own KVM come from an emulated host where there is none: ratios are
# then those of an emulator, where an exit costs little more than other instructions do.
set -u
: "${LKVM:?}" "${GUESTS:?}" "${BENCH:?}" "${MICROVM_CPU:?}"
ROUNDS=${LKVM_BENCH_ROUNDS:-50}
QEMU=$(command -v qemu-system-x86_64 || true)
KVMTOOL=${LKVM_BENCH_KVMTOOL:-}
BASE=${LKVM_BENCH_BASE:-}
MB=256
testbed=${0%/*}/../testbed

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export LKVM_DIR=$tmp/sockets

# commands FLAT PVH [CPUS]: fills names[] and lines[] with what is to be compared; bare has one CPU
# QEMU cannot load a flat binary: it gets the same program with a PVH entry.
commands()
{
	local cpus=${3-1}
	names=() lines=()
	if [ "$cpus" = 1 ]; then
		names=(bare)
		lines=("$BENCH/bare -m $MB $GUESTS/$1.bin")
	fi
	names+=(lkvm)
	lines+=("$LKVM run -c $cpus -m $MB -k $GUESTS/$1.bin")
	if [ -n "$BASE" ]; then
		names+=('lkvm before')
		lines+=("$BASE run -c $cpus -m $MB -k $GUESTS/$1.bin")
	fi
	if [ -n "$QEMU" ]; then
		names+=('qemu microvm')
		lines+=("$QEMU -M microvm -accel kvm -cpu $MICROVM_CPU -m $MB -nodefaults -no-user-config -display none \
-no-reboot -serial stdio -device isa-debug-exit,iobase=0xf4 -smp $cpus -kernel $GUESTS/$2.pvh")
	fi
	if [ -n "$KVMTOOL" ]; then
		names+=(kvmtool)
		lines+=("$KVMTOOL run -c $cpus -m $MB -k $GUESTS/$1.bin")
	fi
}

# ratio A B: A / B with two digits
ratio()
{
	awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", b ? a / b : 0 }'
}

# failed NAME STATUS: says so. A guest of ours ends with 0 or 1 (--debug-exit).
failed()
{
	[ "$2" -gt 1 ] && printf '  %-14s failed: status %d\n' "$1" "$2"
}

# verdict VALUE LIMIT TEXT
verdict()
{
	local word=missed
	awk -v a="$1" -v b="$2" 'BEGIN { exit !(a <= b) }' && word=met
	printf '  aim: %s at most %s: %s, %s\n' "$3" "$2" "$1" "$word"
}

startup()
{
	local i wall min cpu rss status bytes bare_wall lkvm_wall lkvm_cpu
	echo
	commands reset quit
	echo "Start-up: exec to exit of a guest that resets at once, $MB MB, 1 CPU, $ROUNDS rounds in turn"
	printf '  %-14s %12s %12s %12s %12s %8s\n' '' 'wall median' 'wall min' 'CPU median' 'max RSS' 'x bare'
	"$BENCH/measure" "$ROUNDS" "${lines[@]}" >"$tmp/startup" || return
	i=0
	while read -r wall min cpu rss status bytes; do
		[ "$i" -eq 0 ] && bare_wall=$wall
		[ "$i" -eq 1 ] && lkvm_wall=$wall lkvm_cpu=$cpu
		if failed "${names[i]}" "$status"; then
			i=$((i + 1))
			continue
		fi
		printf '  %-14s %9.2f ms %9.2f ms %9.2f ms %8d KiB %8s\n' "${names[i]}" \
			"${wall}e-3" "${min}e-3" "${cpu}e-3" "$rss" "$(ratio "$wall" "$bare_wall")"
		i=$((i + 1))
	done <"$tmp/startup"
	verdict "$(ratio "$lkvm_wall" "$bare_wall")" 1.5 'times bare'
	verdict "$(awk -v us="$lkvm_cpu" 'BEGIN { print us / 1000 }')" 3 'ms of CPU'
}

# Of many vCPUs, of which all but one wait to be started
cpus()
{
	local n i wall min cpu rss status bytes lkvm_wall
	echo
	echo "Start-up with many vCPUs: exec to exit of a guest that resets at once, $MB MB, 10 rounds in turn"
	printf '  %-14s %4s %12s %12s %12s %12s\n' '' CPUs 'wall median' 'wall min' 'CPU median' 'max RSS'
	for n in 64 255; do
		commands reset quit "$n"
		"$BENCH/measure" 10 "${lines[@]}" >"$tmp/cpus" || return
		i=0
		while read -r wall min cpu rss status bytes; do
			[ "$i" -eq 0 ] && lkvm_wall=$wall
			if ! failed "${names[i]}" "$status"; then
				printf '  %-14s %4d %9.2f ms %9.2f ms %9.2f ms %8d KiB\n' "${names[i]}" "$n" "${wall}e-3" "${min}e-3" \
					"${cpu}e-3" "$rss"
				[ "$i" -eq 0 ] || verdict "$(ratio "$lkvm_wall" "$wall")" 1 "$n vCPUs: times ${names[i]}"
			fi
			i=$((i + 1))
		done <"$tmp/cpus"
	done
}

# screen.sh says what its columns mean.
screen()
{
	local name fast ms wakes lkvm_fast lkvm_ms
	echo
	echo "A screen of 1024x768 by VNC, all of which changes with each frame; threads without vCPUs; the best of three rounds in turn"
	printf '  %-14s %14s %16s %22s\n' '' 'frames/s' 'CPU ms/frame' 'wake-ups/s when still'
	"${0%/*}/screen.sh" >"$tmp/screen" || return
	while read -r name fast ms wakes; do
		printf '  %-14s %14s %16s %22s\n' "$name" "$fast" "$ms" "$wakes"
		if [ "$name" = lkvm ]; then
			lkvm_fast=$fast lkvm_ms=$ms
			verdict "$wakes" 0 'wake-ups a second of an idle screen'
			continue
		fi
		verdict "$(ratio "$fast" "$lkvm_fast")" 1 "frames a second of $name: times lkvm"
		verdict "$(ratio "$lkvm_ms" "$ms")" 1 "CPU of a frame: times $name"
	done <"$tmp/screen"
}

# memory_of PID: resident, proportional and peak KiB of everything but guest RAM. Guest RAM is what
# lies in mappings of at least the guest's size; the peak takes today's guest RAM off the highest
# resident size there ever was, so that memory freed since start-up counts.
memory_of()
{
	awk -v limit=$((MB * 1024)) '
		FILENAME ~ /status$/ { if ($1 == "VmHWM:") peak = $2; next }
		/^Size:/ { guest = $2 >= limit }
		/^Rss:/ { if (guest) ram += $2; else rss += $2 }
		/^Pss:/ { if (!guest) pss += $2 }
		END { print rss, pss, peak - ram }' "/proc/$1/smaps" "/proc/$1/status"
}

# sleeper LKVM: memory_of one whose guest sleeps
sleeper()
{
	local pid
	"$1" run -c 1 -m "$MB" -k "$GUESTS/halt.bin" </dev/null >"$tmp/fifo" 2>"$tmp/errors" &
	pid=$!
	read -r -n 1 -t 30 <"$tmp/fifo"
	memory_of "$pid"
	kill -TERM "$pid"
	wait "$pid" 2>/dev/null
}

memory()
{
	local lkvm rss pss peak
	echo
	echo "Memory of lkvm that is not guest RAM, while a guest sleeps ($MB MB, 1 CPU)"
	mkfifo "$tmp/fifo"
	for lkvm in ${BASE:+"$BASE"} "$LKVM"; do
		read -r rss pss peak < <(sleeper "$lkvm")
		printf '  %s: resident %d KiB, of it its share of pages that others map too %d KiB; peak %d KiB\n' \
			"$([ "$lkvm" = "$LKVM" ] && echo lkvm || echo lkvm before)" "$rss" "$pss" "$peak"
	done
	rm "$tmp/fifo"
	verdict "$(ratio "$peak" 1024)" 3 'MiB at the peak'
}

# exits LINE: how often KVM_RUN returned, counted from outside so that it is the same for all
exits()
{
	command -v strace >/dev/null || return
	# shellcheck disable=SC2086
	strace -f -qq -e trace=ioctl -e signal=none -o "$tmp/trace" $1 </dev/null >/dev/null 2>&1
	grep -c 'KVM_RUN' "$tmp/trace"
}

serial()
{
	local program i wall min cpu rss status bytes n
	echo
	echo "Serial output of 64000 bytes: one status read a byte (poll), or one for 16 bytes (burst)"
	printf '  %-14s %-6s %16s %12s %14s\n' '' '' 'bytes/s' 'CPU us/byte' 'exits/byte'
	for program in poll burst; do
		commands "serial-$program" "serial-$program"
		"$BENCH/measure" 5 "${lines[@]}" >"$tmp/serial" || return
		i=0
		while read -r wall min cpu rss status bytes; do
			if failed "${names[i]}" "$status"; then
				i=$((i + 1))
				continue
			fi
			n=$(exits "${lines[i]}")
			printf '  %-14s %-6s %16.0f %12.2f %14s\n' "${names[i]}" "$program" \
				"$(ratio "${bytes}000000" "$wall")" "$(ratio "$cpu" "$bytes")" \
				"${n:+$(ratio "$n" "$bytes")}"
			i=$((i + 1))
		done <"$tmp/serial"
	done
}

# boot.sh says what its columns mean.
boot()
{
	echo
	echo "Debian's cloud kernel, $MB MB, 1 CPU, on an emulated host whose clock counts instructions"
	"${0%/*}/boot.sh"
}

# session.sh says what its columns mean.
session()
{
	echo
	echo "A command on the host's tree, Debian's cloud kernel, 256 MB, 1 CPU, on a host whose clock counts instructions"
	printf '  %-16s %9s %9s %9s %9s %9s\n' '' VMM boot command end total
	"${0%/*}/session.sh"
}

# vng.sh says how it is measured.
vng()
{
	echo
	echo "A command on the host's tree: lkvm run -- true beside virtme-ng's vng -- true, Debian's cloud kernel, 256 MB, 1 CPU"
	"${0%/*}/vng.sh"
}

# savevm.sh says what its columns mean.
savevm()
{
	echo
	echo "A Linux guest that is saved and goes on, beside QEMU's: Debian's cloud kernel, 64 of 256 MB in use, 1 CPU"
	printf '  %-28s %12s %12s %12s\n' '' silent saved 'goes on'
	"${0%/*}/savevm.sh"
}

# fs.sh says how it is measured.
fs()
{
	echo
	echo "Files of the host in a Linux guest, by virtio-fs and 9P: microseconds a file, git status, or MiB of a stream"
	"${0%/*}/fs.sh"
}

# block.sh says what its columns mean.
block()
{
	echo
	echo "Block device: requests a second at a depth of 1, 32 or 4, 256 MB file, 1 CPU"
	"${0%/*}/block.sh"
}

# snapshot.sh says how it is measured.
snapshot()
{
	echo
	echo "Snapshot: a guest that goes on, $ROUNDS rounds in turn; 64 MB of its RAM are in use, 1 CPU"
	"${0%/*}/snapshot.sh" "$ROUNDS"
}

# dump.sh says how it is measured.
dump()
{
	echo
	echo "Dump: a guest with 1024 MB in use, beside cp of the file, 5 rounds in turn"
	"${0%/*}/dump.sh" 5
}

# gdb.sh says how it is measured.
gdb()
{
	local name memory steps lkvm_memory='' lkvm_steps
	echo
	echo "gdb: 1 MiB of memory, 4 KiB at a time (QEMU's packets hold 2), and 1000 single steps; the least of 5 rounds in turn"
	printf '  %-14s %12s %12s\n' '' memory steps
	"${0%/*}/gdb.sh" >"$tmp/gdb" || return
	while read -r name memory steps; do
		printf '  %-14s %9.1f ms %9.1f ms\n' "$name" "${memory}e-6" "${steps}e-6"
		if [ "$name" = lkvm ]; then
			lkvm_memory=$memory lkvm_steps=$steps
			continue
		fi
		verdict "$(ratio "$lkvm_memory" "$memory")" 1 "reading memory: times $name"
		verdict "$(ratio "$lkvm_steps" "$steps")" 1 "steps: times $name"
	done <"$tmp/gdb"
}

# port_writes N: a flat guest that writes N times to port 0x80
port_writes()
{
	# mov $N, %cx; 1: out %al, $0x80; loop 1b; mov $0, %al; out %al, $0xf4
	printf '%b' "\\xb9$(printf '\\x%02x\\x%02x' $(($1 & 255)) $(($1 >> 8)))\\xe6\\x80\\xe2\\xfc\\xb0\\x00\\xe6\\xf4"
}

# What an exit costs, by the difference that N of them make to the shortest run
trace()
{
	local n=20000 i wall min rest name names=(lkvm) lines runs=() single plain
	echo
	echo "Trace: exits a second, $n writes to a port, the least of 5 rounds in turn, 1 CPU"
	lines=("$LKVM run --debug-exit -c 1 -m 64")
	if [ -n "$BASE" ]; then
		names+=('lkvm before')
		lines+=("$BASE run --debug-exit -c 1 -m 64")
	fi
	names+=('lkvm --trace')
	lines+=("${lines[0]} --trace $tmp/trace.json")
	port_writes 1 >"$tmp/one"
	port_writes "$n" >"$tmp/many"
	for i in "${!lines[@]}"; do
		runs+=("${lines[i]} -k $tmp/one" "${lines[i]} -k $tmp/many")
	done
	"$BENCH/measure" 5 "${runs[@]}" >"$tmp/traced" || return
	i=0
	while read -r wall min rest; do
		if [ $((i++ % 2)) -eq 0 ]; then
			single=$min
			continue
		fi
		name=${names[i / 2 - 1]}
		printf '  %-14s %12.0f %10s us each\n' "$name" "$(ratio "${n}000000" $((min - single)))" "$(ratio $((min - single)) "$n")"
		[ "$i" -gt 2 ] || plain=$((min - single))
		[ "$name" != 'lkvm before' ] || verdict "$(ratio "$plain" $((min - single)))" 1.05 'an exit without --trace: times before'
	done <"$tmp/traced"
}

# net.sh says what its columns mean.
net()
{
	echo
	echo "Network of a Linux guest: MiB a second, requests a second; Debian's cloud kernel, 256 MB, 1 CPU, a clock that counts instructions"
	"${0%/*}/net.sh" net
}

vsock()
{
	echo
	echo "vsock of a Linux guest: MiB a second, requests a second; QEMU has vhost-vsock"
	"${0%/*}/net.sh" vsock
}

packets()
{
	echo
	echo "Packets of 64 bytes, to a tap, by a guest that does nothing else"
	"${0%/*}/net.sh" packets
}

# fio.sh says how it is measured.
fio()
{
	echo
	echo "fio in a Linux guest: requests a second; 4 KiB random at a depth of 1 and 32, 1 MiB sequential"
	"${0%/*}/fio.sh"
}

# tables NAME...: those that this machine's own KVM serves, all of them in one emulated host if it has none
tables()
{
	local name here=()
	for name; do
		case $name in
		startup | memory | serial | snapshot | dump | gdb | trace | block | cpus | screen)
			if ! "$testbed/tree.sh"; then
				here+=("$name")
				continue
			fi
			;;
		fio | fs | boot | session | vng | savevm | net | vsock) ;;
		net-packets) name=packets ;;
		*)
			echo "bench: no table '$name': startup, memory, serial, snapshot, dump, gdb, trace, block, fio, fs, boot, session, vng, savevm," \
				"net, vsock, net-packets, cpus, screen" >&2
			return 2
			;;
		esac
		"$name" || return
	done
	[ ${#here[@]} -gt 0 ] || return 0
	echo
	echo "No /dev/kvm here: the next tables are of an emulated host"
	"$testbed/tree.sh" --timeout 1800 "$0" --tables "${here[@]}"
}

# aims FILE: what all the tables said
aims()
{
	echo
	grep '^  aim: ' "$1" | tr -d '\r' | awk '
		/, met$/ { met++; next }
		{ sub(/^ *aim: /, ""); sub(/, missed$/, ""); missed = missed "; " $0 }
		END { printf "%d aims met, %s\n", met, missed == "" ? "none missed" : "missed: " substr(missed, 3) }'
}

if [ "${1-}" = --tables ]; then # inside an emulated host
	shift
	tables "$@"
	exit
fi
# Some only by name: fs and vng take half an hour, and more where hosts stand still (fs.sh), as net may; savevm has Debian 13's QEMU
# downloaded, trace is for who changes what is on an exit's way.
[ $# -gt 0 ] || set -- startup memory serial cpus screen snapshot dump gdb block fio boot session
tables "$@" | tee "$tmp/tables"
status=${PIPESTATUS[0]}
aims "$tmp/tables"
exit "$status"
