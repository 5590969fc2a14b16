#!/usr/bin/env bash
# The tests of tests/testbed/dump-long.sh; $CLOUD is a kernel, $VMLINUX its debug information, $SMALL one of small-kernel.sh
# with vmlinux and gdb's scripts beside it, $FILES/initrd the initrd of both.
# shellcheck disable=SC2034 # job.sh reads it
tests="
live       drgn lists the tasks of a guest that runs, prints its log, and sees a task that starts later; it leaves dumps
drgn       lists the tasks and prints the log of dumps of each format, all of it or with less
crash      prints the log of each format, reads the kernel and finds the pids, and knows what kinds of pages are left out
scripts    of a small kernel gdb runs the kernel's own scripts and shows the stack of each CPU; it leaves dumps
smalldrgn  lists the tasks and prints the log of dumps of that kernel
smallcrash the same of that kernel
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"

per_guest=1500 per_tool=600 # an emulated host may need a minute to read the debug information

# How a dump is called: its compression, and whether it is without what can be left out
formats="none zlib none.less zlib.less lzo.less zstd.less"

# dumps NAME: for those who look at them, in $CLAIMS/NAME
dumps()
{
	local format less
	mkdir "$CLAIMS/$1"
	expect "paused" lkvm pause "$1"
	lkvm dmesg "$1" >"$CLAIMS/$1/dmesg"
	for format in $formats; do
		less=()
		[[ $format != *.less ]] || less=(--exclude "free,cache,user")
		expect "dumped, $format" lkvm dump "$1" "dump.$format" --compress "${format%.less}" "${less[@]}"
		expect "left, $format" cp --sparse=always "dump.$format" "$CLAIMS/$1"
		rm -f "dump.$format"
	done
	expect "resumed" lkvm resume "$1"
}

tasks_script()
{
	cat >"$1" <<-'END'
		from drgn.helpers.linux import for_each_task, get_dmesg, idle_task
		print(get_dmesg(prog).decode())
		print("task", idle_task(prog, 0).comm.string_().decode())
		for task in for_each_task(prog):
		    print("task", task.comm.string_().decode())
	END
}

# told NAME FILE DMESG: tasks by their names, and a log
told()
{
	local task
	for task in init kthreadd awk swapper/0; do
		expect "$1: task $task" grep -qx "task $task" "$2"
	done
	expect "$1: the lines of lkvm dmesg" cmp <(grep '^\[' "$2") <(grep . "$3")
}

# live OUT: of the guest that is called live
live()
{
	timeout "$per_tool" /usr/bin/python3 "$here/../../examples/drgn-live.py" --lkvm "$work/bin/lkvm" -s "$VMLINUX" \
		live tasks.live.py >"$1" 2>"$1.err" || complain "drgn-live: $(tail -c 500 "$1.err")"
}

test_live()
{
	tasks_script tasks.live.py
	start live -k "$CLOUD" -i "$FILES/initrd" -p lkvm.test=pages,later,input,poweroff -m 128 -c 2
	exec 9>live.in
	wait_line live "guest: type a line" || return
	lkvm dmesg live >live.dmesg
	live live.first
	told "at first" live.first live.dmesg
	expect "no task more yet" [ "$(grep -cx 'task later' live.first)" = 0 ]
	dumps live
	echo >&9
	wait_line live "guest: a task more" || return
	lkvm dmesg live >live.dmesg
	live live.second
	told "later" live.second live.dmesg
	expect "the task that came later" grep -qx "task later" live.second
	expect "it runs on" [ "$(lkvm list --json | jq -r '.[] | select(.name == "live").state')" = running ]
	echo >&9
	wait_end live
	expect_status live 0
	expect "no guest, and it says so" [ "$(/usr/bin/python3 "$here/../../examples/drgn-live.py" --lkvm "$work/bin/lkvm" \
		live tasks.live.py 2>&1)" = "drgn-live: there is no guest 'live'" ]
}

# An emulated host's KVM never sees a breakpoint of gdb's, so that there is none here.
test_scripts()
{
	start small -k "$SMALL" -i "$FILES/initrd" -p lkvm.test=pages,later,input,poweroff -m 128 -c 2
	exec 8>small.in
	wait_line small "guest: type a line" || return
	timeout "$per_tool" lkvm gdb small --symbols "${SMALL%/*}/vmlinux" -- -batch -ex lx-version -ex lx-ps -ex lx-dmesg \
		-ex 'thread apply all backtrace' -ex 'print $lx_per_cpu("cpu_number", 1)' </dev/null >scripts.out 2>&1
	expect "the version" grep -q '^Linux version 6\.1\.' scripts.out
	for task in swapper/0 init kthreadd; do
		expect "the task $task" grep -Eq "^ *0x[0-9a-f]+ +[0-9]+ +$task\$" scripts.out
	done
	expect "the log" grep -q 'Run /init as init process' scripts.out
	expect "a stack of each CPU, with lines of the source" \
		[ "$(grep -Ec '^#[1-9].* do_idle \(\) at .*kernel/sched/idle\.c:[0-9]+$' scripts.out)" = 2 ]
	expect "a variable of a CPU" grep -qx '\$1 = 1' scripts.out
	dumps small
	echo >&8
	wait_line small "guest: a task more" || return
	echo >&8
	wait_end small
	expect_status small 0
}

# by_drgn NAME VMLINUX: looks at the dumps of NAME
by_drgn()
{
	local format
	tasks_script tasks.py
	for format in $formats; do
		timeout "$per_tool" drgn -c "$CLAIMS/$1/dump.$format" -s "$2" tasks.py >"$1.$format.told" 2>"$1.$format.err" ||
			complain "$format: $(tail -c 500 "$1.$format.err")"
		told "$format" "$1.$format.told" "$CLAIMS/$1/dmesg"
	done
}

# by_crash NAME VMLINUX [OPTION]: looks at the dumps of NAME; what it says is in NAME.FORMAT.crash
#
# Which tasks there are crash 8.0.2 cannot tell of these kernels, whoever has made the dump: see lkvm-dump(1). It finds
# their pids.
by_crash()
{
	local format
	for format in $formats; do
		printf '%s\n' log 'rd -a linux_banner' 'help -n' 'tree -t xarray -r pid_namespace.idr init_pid_ns' quit |
			timeout "$per_tool" crash -s ${3:+"$3"} "$2" "$CLAIMS/$1/dump.$format" >"$1.$format.crash" 2>&1
		expect "$format: the log" grep -q 'Run /init as init process' "$1.$format.crash"
		expect "$format: memory" grep -q '^ffffffff[0-9a-f]*:  Linux version 6' "$1.$format.crash"
		expect "$format: pids" [ "$(grep -cE '^ffff[0-9a-f]{12}$' "$1.$format.crash")" -gt 20 ]
	done
	for format in zlib lzo zstd; do
		expect "$format: what is left out" grep -q 'dump_level: 31 ' "$1.$format.less.crash"
	done
	expect "and what is not" grep -q 'dump_level: 1 ' "$1.zlib.crash"
}

test_drgn() { by_drgn live "$VMLINUX"; }
test_smalldrgn() { by_drgn small "${SMALL%/*}/vmlinux"; }

test_crash() { by_crash live "$VMLINUX"; }

# crash sees that a kernel was moved by a function of its modules, of which this one has none.
test_smallcrash() { by_crash small "${SMALL%/*}/vmlinux" --kaslr=auto; }

run_tests "$@"
