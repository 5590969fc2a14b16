#!/usr/bin/env bash
# The tests of tests/testbed/look.sh, where KVM can run Linux; $CLOUD, $GENERIC, $RT and $BACKPORT are kernels of
# Debian, $FILES/initrd is one for all.
tests="
+cloud     the log of Linux 6.1, which runs, and which is paused
+generic   that of Debian's generic kernel, with two CPUs
+rt        that of PREEMPT_RT
backport   that of Linux 6.12
spin       a guest whose module loops with interrupts off: backtraces, the report of the run, and its folder
+lock      one whose module takes a spin lock twice
lost       one that waits for a disk whose interrupt is masked
+mute      one that waits for its early console's port, before there is any other
+burn      one that loops in user space, and where its CPUs spend their time
+early     one that stands still before it has told where its things are
+panic     one that panicked
dump       a dump of one: makedumpfile reads the log out of each format
+exclude   one without pages that nobody misses: as many as makedumpfile leaves out of the whole one
+exclude612 one of Linux 6.12
gdb        gdb at Linux, moved by KASLR, with its symbols, while it is in user space
follow     lines come as the kernel logs them, until the guest ends
+merge     --trace with the guest's own trace beside it: what the guest does between two of its events is between them
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"

# linux NAME KERNEL WORDS OPTION...: in the background; NAME.in is its input, and fd 9
linux()
{
	local name=$1 kernel=$2 words=$3
	shift 3
	start "$name" -k "${!kernel}" -i "$FILES/initrd" -p "lkvm.test=$words" -m 128 "$@"
	exec 9>"$name.in"
}

# kernel_lines FILE: those with a time, sorted; two consoles have one line twice
kernel_lines() { tr -d '\r' <"$1" | grep '^\[ *[0-9]*\.[0-9]\{6\}\] ' | sort -u; }

# log_of NAME KERNEL OPTION...: all that the console has had is in the log, too
log_of()
{
	local name=$1
	linux "$@"
	wait_line "$name" "guest: type a line"
	timeout 60 lkvm dmesg "$name" >"$name.dmesg" 2>"$name.err2" || complain "dmesg: $(cat "$name.err2")"
	comm -23 <(kernel_lines "$name.out") <(kernel_lines "$name.dmesg") >"$name.lost"
	expect "nothing is lost, such as '$(head -n 1 "$name.lost")'" [ ! -s "$name.lost" ]
	expect "the first line is there" grep -q 'Linux version 6\.' "$name.dmesg"
	expect "so is init's" grep -q 'Run /init as init process' "$name.dmesg"
}

# end_of NAME
end_of()
{
	echo >&9
	wait_end "$1"
	expect_status "$1" 0
}

# vmlinux_of FILE: a vmlinux with the symbols of a guest's kallsyms, as it was linked
vmlinux_of()
{
	awk '
		NR == 1 { base = $1; print ".section .text, \"ax\", @nobits\nbase: .skip 0x4000000" }
		{ print ".globl " $3; print $3 " = base + (0x" $1 " - 0x" base ")" }' "$1" >symbols.s
	as -o symbols.o symbols.s
	ld -Ttext=0xffffffff81000000 -e 0 -o vmlinux symbols.o
}

test_gdb()
{
	local text='_text|init_task|linux_banner|schedule|vprintk'
	# shellcheck disable=SC2016
	session gdb "$CLOUD" --warm=off -- sh -c "
		grep -E ' ($text)\$' /proc/kallsyms | sort; echo ready; while :; do i=1; done" </dev/null &
	wait_until "the guest" grep -q ready gdb.out
	grep -v ready gdb.out >kallsyms
	vmlinux_of kallsyms
	expect "it was moved" [ "$(head -n 1 kallsyms)" != "ffffffff81000000 T _text" ]
	timeout "$per_guest" lkvm gdb gdb --symbols vmlinux -- -batch -ex 'info threads' -ex 'print/x (long)&init_task' \
		-ex 'x/s (char *)&linux_banner' -ex 'x/i schedule' -ex 'info symbol schedule' -ex 'stepi' \
		-ex 'maintenance packet qOffsets' -ex 'monitor dmesg' -ex 'monitor translate 0' -ex 'print/x $cs & 3' \
		</dev/null >gdb-said.out 2>&1
	expect "init_task's address" grep -qx "\$1 = 0x$(awk '$3 == "init_task" { print $1 }' kallsyms)" gdb-said.out
	expect "kernel memory, whatever the CPU's tables have" grep -q 'linux_banner>:.*"Linux version 6.1' gdb-said.out
	expect "a symbol" grep -q '^schedule in section .text' gdb-said.out
	expect "by how much" grep -Eq 'received: "Text=[0-9a-f]+000;Data' gdb-said.out
	expect "the log" grep -q 'Linux version 6.1' gdb-said.out
	expect "page tables" grep -q '^virtual 0000000000000000' gdb-said.out
	: | lkvm gdb gdb --stdio | cat >/dev/null
	lkvm gdb gdb -- -batch -ex 'print 5' </dev/null >gdb.none 2>&1
	expect "no symbols, and it says so" grep -q 'no vmlinux of Linux 6.1.* is found' gdb.none
	lkvm exec gdb -- true </dev/null || complain "the guest does not run on"
	lkvm stop gdb >/dev/null
	wait
}

test_cloud()
{
	log_of cloud CLOUD input,poweroff -c 1
	expect "paused" lkvm pause cloud
	lkvm dmesg cloud >cloud.paused
	expect "the same when it is paused" cmp cloud.dmesg cloud.paused
	lkvm dmesg --json cloud >cloud.json
	expect "as many records" [ "$(jq length cloud.json)" -ge "$(grep -c . cloud.dmesg)" ]
	expect "in order" [ "$(jq -c 'map(.seq) | . == sort' cloud.json)" = true ]
	expect "levels are there" jq -e 'map(.level) | max == 7 and min >= 0' cloud.json
	expect "resumed" lkvm resume cloud
	end_of cloud
}

test_dump()
{
	local how
	linux dump CLOUD input,poweroff -c 2
	wait_line dump "guest: type a line"
	expect "paused" lkvm pause dump
	lkvm dmesg dump >dump.dmesg
	for how in none zlib lzo zstd; do
		expect "dumped, $how" lkvm dump dump "core.$how" --compress "$how"
		[ "$how" != zstd ] || makedumpfile -v | grep -q 'zstd.*enabled' || continue
		expect "makedumpfile reads it, $how" makedumpfile --dump-dmesg "core.$how" "log.$how"
		expect "as many lines, $how" [ "$(grep -c . "log.$how")" = "$(grep -c . dump.dmesg)" ]
	done
	expect "the direct map is known" [ "$(readelf -lW core.none | grep -c 'LOAD .* 0xff')" = 2 ]
	expect "resumed" lkvm resume dump
	end_of dump
}

# left_out NAME FORMAT: dump it to NAME.FORMAT.less, and set free, cache, user and zero to what is not there
left_out()
{
	local text
	expect "dumped without some, $2" lkvm dump "$1" "$1.$2.less" --compress "$2" --exclude free,cache,user,zero >"$1.$2.said"
	text=$(sed -n 's/^lkvm: left out: //p' "$1.$2.said")
	read -r free _ _ cache _ _ user _ _ zero _ <<<"$text"
	expect "it says how many" [ -n "$zero" ]
	makedumpfile --dump-dmesg "$1.$2.less" "$1.$2.log" --message-level 1
	has "the log, $2" "$1.$2.log" 'Run /init as init process'
}

# exclude NAME KERNEL: what is free is left out, and some of the rest
exclude()
{
	local says
	linux "$1" "$2" pages,input,poweroff -c 2
	wait_line "$1" "guest: type a line"
	expect "paused" lkvm pause "$1"
	says=$(tr -d '\r' <"$1.out" | sed -n 's/^guest: free //p')
	left_out "$1" none
	expect "what the guest says is free: $says kB, not $free pages" [ "$((free * 4))" -gt "$((says * 9 / 10))" ]
	expect "files: $cache pages of 4096" [ "$cache" -ge 4096 ]
	expect "a program's 8 MiB and more: $user pages" [ "$user" -ge 1024 ]
}

# theirs LOG WORDS: a number of makedumpfile's
theirs() { printf '%d' "$(sed -n "s/^ *$2 *: //p" "$1" | head -n 1)"; }

test_exclude()
{
	exclude exclude CLOUD
	lkvm dump exclude exclude.whole >/dev/null
	makedumpfile -l -d 31 exclude.whole exclude.theirs --message-level 16 >theirs.log 2>&1
	expect "as many free ones" [ "$free" = "$(theirs theirs.log 'Free pages')" ]
	expect "of files" [ "$cache" = "$(theirs theirs.log 'Non-private cache pages')" ]
	expect "of programs" [ "$user" = "$(theirs theirs.log 'User process data pages')" ]
	expect "of zeros" [ "$zero" = "$(theirs theirs.log 'Pages filled with zero')" ]
	left_out exclude lzo
	expect "kdump's format is as long as theirs" [ "$(($(stat -c %s exclude.lzo.less) / 65536))" = \
		"$(($(stat -c %s exclude.theirs) / 65536))" ]
	expect "resumed" lkvm resume exclude
	end_of exclude
}

# Debian 12's makedumpfile takes pages of slabs for some of programs there.
test_exclude612()
{
	exclude exclude612 BACKPORT
	expect "resumed" lkvm resume exclude612
	end_of exclude612
}

test_generic()
{
	log_of generic GENERIC input,poweroff -c 2
	end_of generic
}

test_rt()
{
	log_of rt RT input,poweroff -c 1
	end_of rt
}

test_backport()
{
	log_of backport BACKPORT input,poweroff -c 1
	end_of backport
}

# has WHAT FILE REGEX
has() { expect "$1, in $2: $(head -c 2000 "$2")" grep -qE "$3" "$2"; }

test_spin()
{
	linux spin CLOUD spin -c 1 -i "$FILES/modules" --idle-timeout 60 --result spin.json --report spin.report
	wait_line spin "guest: spins"
	sleep 3
	lkvm debug --backtrace spin >spin.trace 2>&1
	has "interrupts are off" spin.trace '^vCPU 0: runs in the kernel, interrupts off'
	has "the module" spin.trace '^    (init_module|crc32c|libcrc32c_mod_init).*\[libcrc32c\]'
	has "who called it" spin.trace '^    do_one_initcall\+'
	has "the system call" spin.trace '^    do_syscall_64\+'
	has "user space" spin.trace '^    0x[0-9a-f]+ in user space'
	lkvm debug --backtrace --json spin >spin.trace.json
	expect "JSON" jq -e '.[0].by == "orc" and .[0].complete' spin.trace.json
	lkvm dmesg spin >spin.dmesg
	has "the log" spin.dmesg 'Run /init as init process'
	wait_end spin
	expect_status spin 124
	has "the report" spin.err '^vCPU 0: .*interrupts off'
	has "the report" spin.err 'do_one_initcall'
	expect "the report is short" [ "$(wc -l <spin.err)" -le 50 ]
	expect "the result" jq -e '.backtraces[0].frames | map(.text) | join(" ") | test("do_one_initcall")' spin.json
	has "the folder" spin.report/backtraces do_one_initcall
	has "the folder" spin.report/dmesg 'Linux version 6'
	has "the folder" spin.report/memory-map .
}

# hung NAME: a limit of time has ended it, and it is reported
hung()
{
	wait_end "$1"
	expect_status "$1" 124
	expect "the report is short" [ "$(sed -n "/^lkvm: the guest's last lines/,\$d; p" "$1.err" | wc -l)" -le 42 ]
}

test_lock()
{
	linux lock CLOUD lock -c 2 -i "$FILES/modules" --idle-timeout 40 --result lock.json
	wait_line lock "guest: locks"
	hung lock
	has "it spins" lock.err '^vCPU [01]: spins for a lock, interrupts off'
	has "in there" lock.err '^    (_raw_spin_lock|.*queued_spin_lock_slowpath)'
	has "for whom" lock.err '^    (init_module|crc32c|libcrc32c_mod_init).*\[libcrc32c\]'
	has "the other CPU" lock.err '^vCPU [01]: (idle|runs)'
	expect "the result" jq -e '.backtraces | map(.activity) | any(. == "spins for a lock, interrupts off")' lock.json
}

test_lost()
{
	truncate -s 1M lost.img
	linux lost CLOUD lost -c 1 -i "$FILES/disk" -d lost.img --idle-timeout 40 --result lost.json
	wait_line lost "guest: waits"
	hung lost
	has "it is idle" lost.err '^vCPU 0: idle'
	has "the disk" lost.err '^lkvm: blk0: its interrupt [0-9]+ is pending, and the guest has masked it'
	expect "the result" jq -e '.withheld | test("blk0")' lost.json
}

# The early console is told that its port is 4 below the first serial port's: a register of that is never what it waits for.
test_mute()
{
	run mute -k "$CLOUD" -i "$FILES/initrd" --nodefaults \
		-p "console=ttyS0 earlycon=uart8250,io,0x3f4,115200 lkvm.test=poweroff" -m 128 -c 1 --idle-timeout 40 </dev/null
	hung mute
	expect "nothing was printed" [ "$(tr -dc '[:print:]' <mute.out | wc -c)" = 0 ]
	has "what it does" mute.err '^vCPU 0: runs in the kernel.*; it reads port 0x3f9 \(.*\) again and again'
	has "in which function" mute.err '^    (serial8250_early_in|serial_putc)\+'
	has "how early" mute.err '^    setup_arch\+'
	has "its log" mute.err 'Linux version 6'
}

test_burn()
{
	linux burn BACKPORT burn -c 2 --idle-timeout 60
	wait_line burn "guest: burns"
	sleep 2
	lkvm debug --backtrace burn >burn.trace 2>&1
	has "two CPUs" burn.trace '^vCPU 1: '
	has "one of them burns" burn.trace '^vCPU [01]: (in user space \(64-bit\)|runs in the kernel)'
	has "the other has nothing to do, or little" burn.trace '^    (cpu_startup_entry|kthread)\+'
	lkvm profile --seconds 3 burn >burn.table 2>&1
	has "samples" burn.table '^[0-9]+ samples$'
	has "user space" burn.table '%  \[user space\]$'
	lkvm profile --seconds 2 --folded burn >burn.folded 2>&1
	has "the stack of the idle CPU" burn.folded '^vcpu[01];.*;cpu_startup_entry;do_idle;.* [0-9]+$'
	has "user space" burn.folded '^vcpu[01];\[user space\] [0-9]+$'
	lkvm stat --exits burn >burn.exits 2>&1
	has "what KVM counts" burn.exits '^ +[0-9]+  exits$'
	hung burn
	has "the report" burn.err '^vCPU [01]: in user space'
}

test_early()
{
	linux early BACKPORT poweroff -c 1
	wait_line early "Command line:"
	expect "paused" lkvm pause early
	lkvm dmesg early >early.dmesg 2>&1
	has "the log" early.dmesg 'Linux version 6\.12'
	lkvm debug --backtrace early >early.trace 2>&1
	has "where it is" early.trace '^    start_kernel\+'
	expect "resumed" lkvm resume early
	wait_end early
	expect_status early 0
}

test_panic()
{
	linux panic CLOUD panic -c 1 --result panic.json
	wait_end panic
	expect_status panic 120
	expect "the result" jq -e '.kernel_tail | test("Kernel Offset: ")' panic.json
	expect "the backtrace" jq -e '.backtraces[0].frames | map(.text) | join(" ") | test("panic")' panic.json
}

# It waits for a kernel that is not there yet.
test_follow()
{
	linux follow CLOUD input,poweroff -c 1
	wait_until "its socket" lkvm stat follow
	# Of a slow host nobody may hear within a client's limit of time: then it asks again.
	timeout "$per_guest" sh -c 'until lkvm dmesg --follow follow; do grep -q "does not answer" follow.log || exit 1; done' \
		>follow.dmesg 2>>follow.log &
	reader=$!
	wait_line follow "guest: type a line"
	wait_until "init in the log" grep -q 'Run /init as init process' follow.dmesg
	end_of follow
	expect "it ends with the guest" wait "$reader"
	expect "its last words are there" grep -q 'Linux version 6\.' follow.dmesg
	expect "no line came twice" [ "$(grep -c 'Linux version 6\.' follow.dmesg)" -eq 1 ]
}

test_merge()
{
	truncate -s 1M merge.img
	timeout "$per_guest" lkvm run --name merge -k "$CLOUD" -c 1 -m 256 --warm=off -d merge.img,serial=merge --trace merge.json -- bash -c '
		until [ -b /dev/vda ]; do sleep 0.1; done
		cd /sys/kernel/tracing && echo x86-tsc >trace_clock && echo before >trace_marker &&
		dd if=/dev/vda of=/dev/null bs=65536 count=1 iflag=direct status=none && echo after >trace_marker && cat trace' \
		>merge.guest 2>merge.err
	echo $? >merge.status
	expect_status merge 0
	"$here/../../examples/trace-merge" merge.json merge.guest >merge.both || complain "trace-merge failed"
	jq -c '.traceEvents[] | select(.name == "blk0 read" and (.args.bytes == 65536 or .ph == "e"))' merge.both >merge.out
	jq -r .systemTraceEvents merge.both >>merge.out
	expect "the order" jq -e '
		([.traceEvents[] | select(.name == "blk0 read" and .args.bytes == 65536)][0]) as $begin |
		([.traceEvents[] | select(.name == "blk0 read" and .ph == "e" and .id == $begin.id and .ts >= $begin.ts)][0].ts / 1e6) as $done |
		([.systemTraceEvents | split("\n")[] | select(test("(before|after)$")) | capture(" (?<s>[0-9]+[.][0-9]{9}): ").s |
			tonumber]) as $mark |
		($mark | length == 2) and $mark[0] < $begin.ts / 1e6 and $done < $mark[1]' merge.both
}

run_tests "$@"
