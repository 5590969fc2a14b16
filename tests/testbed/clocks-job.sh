#!/usr/bin/env bash
# What clocks.sh runs, where there is a /dev/kvm. What the guest's kvm-clock and time stamp counter are at a
# moment of the host's is told by `lkvm debug --clock`; the guest itself, which polls all the time, tells where PIT,
# LAPIC timer and real-time clock are at a moment of its kvm-clock.
set -u
work=$(mktemp -d)
cd "$work" || exit
export LKVM_DIR=$work/sockets
mkfifo in out
exec 4<>in
"$LKVM" run --debug-exit -c 1 -m 64 --name clocks -k "$GUESTS/clocks.mb" <in >out 2>err &
guest=$!
exec 3<out
(while :; do :; done) &
load=$!
trap 'kill $load $guest 2>/dev/null; rm -rf "$work"' EXIT

# heard REGEX: the next line of its output that matches
heard()
{
	local line
	while IFS= read -r -t 60 line <&3; do
		[[ ${line%$'\r'} =~ $1 ]] && return
	done
	echo "Bail out! the guest says nothing of '$1': $(cat err)"
	exit 1
}

# look: raw kvm tsc khz, then pit lapic rtc, each with its moment
look()
{
	printf m >&4
	heard '^counters: pit ([0-9]+) at ([0-9]+) lapic ([0-9]+) at ([0-9]+) rtc ([0-9]+) at ([0-9]+)$'
	"$LKVM" debug clocks --clock --json |
		jq -r '"\(.host_monotonic_raw_ns) \(.kvm_clock_ns) \(.vcpus[0].tsc) \(.vcpus[0].tsc_khz)"' | tr '\n' ' '
	echo "${BASH_REMATCH[*]:1}"
}

heard '^ready'
printf s >&4
heard '^counters run$'
first=$(look)
sleep "$CLOCKS_SECONDS"
last=$(look)
# An emulator's time stamp counter has no frequency that a kernel could find out exactly.
[ "$(hostname)" = emulated-host ] && emulated=1
echo "$first $last" | awk -v emulated="${emulated-0}" '
function judge(name, got, want)
{
	off = (got / want - 1) * 100
	good = off < 0.1 && off > -0.1
	skip = name == "TSC" && emulated && !good ? " # SKIP the emulated host does not know its frequency" : ""
	bad += !good && !skip
	printf "%s %d - %s%s\n", good || skip ? "ok" : "not ok", ++n, name, skip
	printf "# %-10s %14.6f s of %14.6f s: %+.4f %%\n", name, got, want, off
}
{
	for (i = 1; i <= 10; i++)
		passed[i] = $(i + 10) - $i
	raw = passed[1] / 1e9
	rate = passed[2] / passed[1] * 1e9 # so that the others are compared with the host
	judge("kvm-clock", passed[2] / 1e9, raw)
	judge("TSC", passed[3] / $4 / 1000, raw)
	judge("PIT", passed[5] / 1193182, passed[6] / rate)
	judge("LAPIC", passed[7] / 1e9, passed[8] / rate)
	judge("RTC", (passed[9] + 86400) % 86400, passed[10] / rate)
	print "1.." n
	exit bad > 0
}'
status=$?
printf q >&4
wait "$guest"
[ $? -eq 1 ] || { echo "# the guest has found something wrong"; status=1; }
exit $status
