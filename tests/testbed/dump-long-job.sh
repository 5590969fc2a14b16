#!/usr/bin/env bash
# The tests of tests/testbed/dump-long.sh; $CLOUD is a kernel, $VMLINUX its debug information, $FILES/initrd its initrd.
# shellcheck disable=SC2034 # job.sh reads it
tests="
live       drgn lists the tasks of a guest that runs, prints its log, and sees a task that starts later; it leaves dumps
drgn       lists the tasks and prints the log of dumps of each format, all of it or with less
crash      prints the log of each format and reads the kernel, and knows what kinds of pages are left out
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"

per_guest=1500 per_tool=600 # an emulated host may need a minute to read the debug information

# How a dump is called: its compression, and whether it is without what can be left out
formats="none zlib none.less zlib.less lzo.less zstd.less"

# dumps NAME: for those who look at them, in $CLAIMS
dumps()
{
	local format less
	expect "paused" lkvm pause "$1"
	lkvm dmesg "$1" >"$CLAIMS/dmesg"
	for format in $formats; do
		less=()
		[[ $format != *.less ]] || less=(--exclude "free,cache,user")
		expect "dumped, $format" lkvm dump "$1" "dump.$format" --compress "${format%.less}" "${less[@]}"
		expect "left, $format" cp --sparse=always "dump.$format" "$CLAIMS"
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

test_drgn()
{
	local format
	tasks_script tasks.py
	for format in $formats; do
		timeout "$per_tool" drgn -c "$CLAIMS/dump.$format" -s "$VMLINUX" tasks.py >"$format.told" 2>"$format.err" ||
			complain "$format: $(tail -c 500 "$format.err")"
		told "$format" "$format.told" "$CLAIMS/dmesg"
	done
}

# Which tasks there are crash 8.0.2 cannot tell of this kernel, whoever has made the dump: see lkvm-dump(1).
test_crash()
{
	local format
	for format in $formats; do
		printf '%s\n' log 'rd -a linux_banner' 'help -n' quit |
			timeout "$per_tool" crash -s "$VMLINUX" "$CLAIMS/dump.$format" >"crash.$format" 2>&1
		expect "$format: the log" grep -q 'Run /init as init process' "crash.$format"
		expect "$format: memory" grep -q '^ffffffff[0-9a-f]*:  Linux version 6' "crash.$format"
	done
	for format in zlib lzo zstd; do
		expect "$format: what is left out" grep -q 'dump_level: 31 ' "crash.$format.less"
	done
	expect "and what is not" grep -q 'dump_level: 1 ' crash.zlib
}

run_tests "$@"
