# shellcheck shell=bash
# For tests that run guests: lib.sh, and how to start a guest program, wait for its first words and
# for its end. GUESTS in the environment is the folder of the programs that tests/guest/ makes.
# shellcheck source=tests/functional/lib.sh
. "${0%/*}/lib.sh"
: "${GUESTS:?is the folder of the guest programs}"

# g_run PROGRAM [OPTION]...: run it to its end with one CPU and 64 MB, unless the options say more
g_run()
{
	local program=$1
	shift
	t_run "$LKVM" run --debug-exit -c 1 -m 64 -k "$GUESTS/$program" "$@"
	t_command="run $program${*:+ ${*//$T_TMP/TMP}}"
}

# g_start PROGRAM [OPTION]...: start it in the background as guest "test"; g_pid is lkvm's
# Returns when the guest has written its first character.
g_start()
{
	local program=$1
	shift
	rm -f "$T_TMP/fifo"
	mkfifo "$T_TMP/fifo"
	# A shell without job control lets its background processes ignore SIGINT.
	env --default-signal=INT "$LKVM" run --debug-exit -c 1 -m 64 --name test -k "$GUESTS/$program" \
		"$@" >"$T_TMP/fifo" 2>"$T_TMP/stderr" </dev/null &
	g_pid=$!
	exec 3<"$T_TMP/fifo"
	t_command="run $program${*:+ ${*//$T_TMP/TMP}}"
	if ! IFS= read -r -n 1 -t 30 <&3; then
		t_report 1 "$t_command: the guest starts" "$(cat "$T_TMP/stderr")"
		kill -KILL "$g_pid"
	fi
}

# g_wait: wait for its end; t_rc is its status, or 137 if it does not end
g_wait()
{
	timeout "${T_LIMIT:-30}" tail --pid="$g_pid" -s 0.02 -f /dev/null || kill -KILL "$g_pid"
	t_rc=0
	wait "$g_pid" || t_rc=$?
	exec 3<&-
}

# g_no_leftovers NAME: no socket is left, and no process of ours but this shell's
g_no_leftovers()
{
	t_is "$1: no socket is left" "$(ls "$LKVM_DIR" 2>/dev/null)" ''
	t_is "$1: no process is left" "$(pgrep -x lkvm -P $$)" ''
}
