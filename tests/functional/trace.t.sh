#!/usr/bin/env bash
# lkvm run --trace: what the guests do stands in the file, with times, whatever becomes of the run.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
merge=$(realpath "${0%/*}/../../examples/trace-merge")
cd "$T_TMP" || exit

# holds NAME PROGRAM: of the file "trace", in jq's language
holds()
{
	[ "$(jq "$2" trace 2>why)" = true ]
	t_report $? "$1" "$(cat why; head -c 3000 trace)"
}

# whole NAME: it is a document with an end, and each thread's events are one behind the other, within the run
whole()
{
	holds "$1: the trace is whole" '.displayTimeUnit == "ns" and (.otherData.begin | length >= 5) and
		(.traceEvents[-1] | .name == "end" and .args.dropped == 0 and (.args.end | length) >= 5)'
	holds "$1: times are in order" '(.traceEvents[-1].ts) as $last |
		[.traceEvents[] | select(.ph == "X")] | group_by(.tid) | all(.[];
			. as $e | all(range(1; $e | length);
				$e[.].dur >= 0 and $e[.].ts + 0.0005 >= $e[. - 1].ts + $e[. - 1].dur and $e[.].ts + $e[.].dur <= $last))'
}

# traced NAME STATUS PROGRAM [OPTION]...
traced()
{
	local name=$1 status=$2
	shift 2
	g_run "$@" --trace trace
	t_is "$name: as without a trace" "$t_rc" "$status"
	whole "$name"
}

# ---- exits ----

traced 'port' 0 hello.bin
t_stdout_is 'hello from the guest'
t_stderr_is ''
holds 'each character is an exit' '[.traceEvents[] | select(.name == "serial out")] | length == 21 and
	all(.[]; .cat == "exit,io" and .args.port == "0x3f8" and .args.bytes == 1 and .args.count == 1 and .args.device == "serial") and
	(map(.args.value) | .[0] == "0x68" and .[20] == "0xa")'
holds 'what was read' 'any(.traceEvents[]; .name == "serial in" and .args.port == "0x3fd" and .args.value == "0x60")'
holds 'names of process and thread' '[.traceEvents[] | select(.ph == "M") | [.name, .args.name]] as $m |
	any($m[]; .[0] == "process_name" and (.[1] | startswith("lkvm guest-"))) and any($m[]; . == ["thread_name", "vcpu/0"])'

# mov $1000, %cx; 1: out %al, $0x80; loop 1b; mov $0, %al; out %al, $0xf4
printf '\xb9\xe8\x03\xe6\x80\xe2\xfc\xb0\x00\xe6\xf4' >thousand
t_run "$LKVM" run --debug-exit -c 1 -m 64 -k thousand --trace trace
t_is 'a thousand writes: status' "$t_rc" 1
whole 'a thousand writes'
holds 'a thousand writes are as many events' '[.traceEvents[] | select(.args.port == "0x80")] | length == 1000'

traced 'triple fault' 121 triple-fault.bin
holds 'the last exit has its reason' '[.traceEvents[] | select(.cat == "exit")] | length == 1 and .[0].args.reason > 0'
traced 'panic' 120 pvpanic.bin
holds 'the device is named' 'any(.traceEvents[]; .name == "pvpanic out")'

traced 'two vCPUs' 1 smp.mb -c 2 -p cpus=2
holds 'two vCPUs have a track each' '[.traceEvents[] | select(.name == "thread_name" and (.args.name | startswith("vcpu/"))) |
	[.args.name, .tid]] | sort | length == 2 and .[0][0] == "vcpu/0" and .[1][0] == "vcpu/1" and .[0][1] != .[1][1]'

# ---- interrupts and requests ----

traced 'line' 1 serial-irq.bin
holds 'a line goes up and down' '[.traceEvents[] | select(.cat == "interrupt,line")] | length > 1 and
	all(.[]; .args.device == "serial" and .args.gsi == 4) and .[0].args.level == 1 and .[1].args.level == 0 and
	.[0].name == "serial line up"'

truncate -s 512 disk0
truncate -s 1024 disk1
for transport in pci mmio; do
	traced "disks, $transport" 1 disks.mb -m 128 -p disks=2 -d disk0,serial=disk000 -d disk1,serial=disk001 \
		--virtio-transport $transport
	holds "disks, $transport: a request each" '[.traceEvents[] | select(.cat == "request")] | length == 4 and
		(group_by(.id) | length == 2 and all(.[]; map(.ph) == ["b", "e"] and .[0].name == .[1].name and
			.[0].ts <= .[1].ts and .[0].args.bytes == 20 and .[1].args.written == 21)) and
		(map(.name) | unique == ["blk0 get id", "blk1 get id"])'
	holds "disks, $transport: an interrupt each" '[.traceEvents[] | select(.cat == "interrupt") | .name] | sort ==
		["blk0 interrupt", "blk1 interrupt"]'
	holds "disks, $transport: registers" 'any(.traceEvents[]; .cat == "exit,mmio" and .args.device == "blk1" and
		(.args.address | startswith("0x")) and .args.bytes > 0)'
done

truncate -s 1M disk
traced 'reads' 1 blk-bench.pvh -m 256 -d disk -p 'periods=1 cycles=30000000 depth=8 bytes=4096 write=0 random=1'
holds 'reads have sector and bytes' '[.traceEvents[] | select(.name == "blk0 read")] |
	(map(select(.ph == "b")) | length >= 8 and all(.[]; .args.bytes == 4096 and .args.sector % 8 == 0 and .args.sector < 2048)) and
	(map(select(.ph == "e")) | length >= 8 and all(.[]; .args.written == 4097 or .args.cancelled == 1))'
holds 'each that began has ended' '[.traceEvents[] | select(.cat == "request")] | group_by(.id) | all(.[]; length == 2)'

# ---- every end leaves a whole file ----

g_run loop.bin --timeout 1 --trace trace
t_status 124
whole 'time limit'
g_start halt.bin --trace trace
t_is 'one thread writes it' "$(cat "/proc/$g_pid/task"/*/comm | grep -c '^trace/')" 1
kill -INT "$g_pid"
g_wait
t_is 'Ctrl-C: status' "$t_rc" 130
whole 'Ctrl-C'
g_start halt.bin --trace trace
"$LKVM" pause test >/dev/null
"$LKVM" resume test >/dev/null
"$LKVM" snapshot test saved >/dev/null
"$LKVM" stop test >/dev/null
g_wait
whole 'lkvm stop'
holds 'it was parked before it ran, and while it was paused' '[.traceEvents[] | select(.name == "parked")] | length >= 2'
holds 'and kicked out of the guest for that' 'any(.traceEvents[]; .cat == "exit,kick")'

g_start halt.bin --trace trace
whole_now()
{
	[ "$(jq 'any(.traceEvents[]; .name == "serial out")' trace 2>&1)" = true ]
}
t_ok 'while it runs, the file is a document' until_true whole_now
kill -KILL "$g_pid"
g_wait
t_ok 'and so it is when lkvm was killed' whole_now

g_start halt.bin
t_is 'without the option there is no such thread' "$(cat "/proc/$g_pid/task"/*/comm | grep -c '^trace/')" 0
kill -KILL "$g_pid"
g_wait

# The guest that was saved goes on; each run has a trace of its own, or none.
timeout 60 "$LKVM" run --restore saved --name again --trace trace </dev/null >said 2>&1 &
t_ok 'restored: it runs' until_true "$LKVM" stat again
"$LKVM" stop again >/dev/null
wait
whole 'restored'
holds 'restored: its vCPU is there' 'any(.traceEvents[]; .name == "thread_name" and .args.name == "vcpu/0")'

# ---- where it goes ----

g_run hello.bin --trace /dev/full
t_status 0
t_stdout_is 'hello from the guest'
t_stderr_is "lkvm: warning: trace '/dev/full': No space left on device: nothing more is written to it"
mkfifo pipe
cat pipe >trace &
g_run hello.bin --trace pipe
wait
t_status 0
whole 'FIFO'
: <pipe &
g_run hello.bin --trace pipe
wait
t_status 0
t_stdout_is 'hello from the guest'
t_stderr_is "lkvm: warning: trace 'pipe': Broken pipe: nothing more is written to it"
t_fails 125 "--trace needs the name of a file, not '-'" "$LKVM" run -k "$GUESTS/hello.bin" --trace -
t_fails 125 "--trace needs the name of a file, not ''" "$LKVM" run -k "$GUESTS/hello.bin" --trace ''
t_fails 125 "open trace 'nowhere/x': No such file or directory" "$LKVM" run -k "$GUESTS/hello.bin" --trace nowhere/x

# ---- beside the guest's own ----

g_run hello.bin --trace trace
begin=$(jq .otherData.begin.guest_tsc trace)
cat >guest <<EOF2
# tracer: nop
     swapper-0       [000] d..1. $begin: cpu_idle: state=1 cpu_id=0
            sh-7       [000] ..... $(jq '.traceEvents[-1].args.end.guest_tsc' trace): sched_switch: 99: "quoted"
EOF2
t_ok 'trace-merge' bash -c '"$0" trace guest >both' "$merge"
mv both trace
holds 'it is where it was on the host' '.otherData.begin.monotonic_ns as $a | .traceEvents[-1].args.end.monotonic_ns as $b |
	[.systemTraceEvents | split("\n")[] | capture(" (?<s>[0-9]+[.][0-9]{9}): ").s | tonumber * 1e9] |
	length == 2 and (.[0] - $a | fabs) < 1000 and (.[1] - $b | fabs) < 1000'
holds 'and the events are as they were' '(.traceEvents | length > 40) and (.systemTraceEvents | contains("99: \"quoted\""))'
t_done
