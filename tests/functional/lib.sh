# shellcheck shell=bash
# A small TAP harness for tests of the command line. A test program starts with
#
#	#!/usr/bin/env bash
#	. "${0%/*}/lib.sh"
#
# runs commands with t_run, judges each by t_status, t_stdout_is, ..., and ends with t_done. The
# environment gives LKVM, the binary under test. Guests get a control socket folder of their own.
set -u
: "${LKVM:?is the path of the lkvm binary to test}"

T_TMP=$(mktemp -d)
export LKVM_DIR=$T_TMP/sockets
unset COLUMNS
t_command='' t_rc=0 t_count=0 t_bad=0
trap 'rm -rf "$T_TMP"' EXIT

# t_report 0|1 NAME [DETAIL]: one line of TAP; the detail is shown if the test failed
t_report()
{
	t_count=$((t_count + 1))
	if [ "$1" -eq 0 ]; then
		printf 'ok %d - %s\n' "$t_count" "$2"
		return 0
	fi
	t_bad=$((t_bad + 1))
	printf 'not ok %d - %s\n' "$t_count" "$2"
	printf '%s\n' "${3-}" | sed 's/^/# /'
	return 1
}

# t_ok NAME CMD [ARG]...: CMD succeeds; its output is shown if it does not
t_ok()
{
	local name=$1 out rc=0
	shift
	out=$("$@" 2>&1) || rc=$?
	t_report $((rc != 0)) "$name" "$* ended with $rc: $out"
}

# t_is NAME GOT WANTED
t_is()
{
	[ "$2" = "$3" ]
	t_report $? "$1" "wanted: $3
got:    $2"
}

# has_line TEXT REGEX: a line of it matches an extended regular expression. Like others here it starts no program if the
# text is not long: in an emulated host that is what takes time.
has_line()
{
	local line
	if [ ${#1} -gt 20000 ]; then
		grep -Eq -e "$2" <<<"$1"
		return
	fi
	while IFS= read -r line; do
		[[ ! $line =~ $2 ]] || return 0
	done <<<"$1"
	return 1
}

# t_like NAME GOT REGEX: a line of the text matches an extended regular expression
t_like()
{
	has_line "$2" "$3"
	t_report $? "$1" "wanted: /$3/
got:    $2"
}

# t_unlike NAME GOT REGEX
t_unlike()
{
	! has_line "$2" "$3"
	t_report $? "$1" "not wanted: /$3/
got:        $2"
}

# t_emulated: in an emulated host (testbed/tree.sh), where all takes twenty times as long
t_emulated()
{
	[ "$(hostname)" = emulated-host ]
}

T_PATIENCE=60
! t_emulated || T_PATIENCE=300

# until_true CMD...: poll for what has no event that a shell could wait for, at most a minute, or five in an emulated host
until_true()
{
	local end=$((SECONDS + T_PATIENCE))
	until "$@"; do
		[ $SECONDS -lt $end ] || return 1
		sleep 0.02
	done
}

t_skip()
{
	t_count=$((t_count + 1))
	printf 'ok %d - %s # SKIP %s\n' "$t_count" "$1" "$2"
}

# t_run CMD [ARG]...: run it and keep status, standard output and standard error for the checks
# below. A command that hangs is ended, and has status 137. Standard input is the caller's.
t_run()
{
	t_command="${*//$LKVM/lkvm}"
	t_command="${t_command//$T_TMP/TMP}"
	t_command="${t_command//$'\n'/?}"
	t_rc=0
	timeout -s KILL "${T_LIMIT:-60}" "$@" >"$T_TMP/stdout" 2>"$T_TMP/stderr" || t_rc=$?
	if [ -n "${GUESTS-}" ] && [ -s "$T_TMP/stderr" ]; then
		t_drop "lkvm: warning: kernel '$GUESTS/*: taken as a flat binary"
	fi
}

# t_drop PATTERN: lines of standard error that are no news; of our flat guests exits.t.sh looks at the warning
t_drop()
{
	local line kept=''
	while IFS= read -r line || [ -n "$line" ]; do
		# shellcheck disable=SC2053 # a pattern
		[[ $line == $1 ]] || kept+=$line$'\n'
	done <"$T_TMP/stderr"
	printf '%s' "$kept" >"$T_TMP/stderr"
}

t_stdout()
{
	cat "$T_TMP/stdout"
}

t_stderr()
{
	cat "$T_TMP/stderr"
}

t_status()
{
	[ "$t_rc" -eq "$1" ]
	t_report $? "$t_command: status $1" "status $t_rc, standard error: $(<"$T_TMP/stderr")"
}

t_stdout_is()
{
	t_is "$t_command: standard output" "$(<"$T_TMP/stdout")" "$1"
}

t_stdout_like()
{
	t_like "$t_command: standard output /$1/" "$(<"$T_TMP/stdout")" "$1"
}

t_stderr_is()
{
	t_is "$t_command: standard error" "$(<"$T_TMP/stderr")" "$1"
}

t_stderr_like()
{
	t_like "$t_command: standard error /$1/" "$(<"$T_TMP/stderr")" "$1"
}

# t_fails STATUS MESSAGE CMD [ARG]...: ends with STATUS, nothing on standard output, and exactly the
# one line "lkvm: MESSAGE" on standard error (a newline in MESSAGE is shown as a question mark)
t_fails()
{
	local status=$1 message=${2//$'\n'/?}
	shift 2
	t_run "$@"
	[ "$t_rc" -eq "$status" ] && [ ! -s "$T_TMP/stdout" ] && [ "$(<"$T_TMP/stderr")" = "lkvm: $message" ]
	t_report $? "$t_command: status $status, $message" "status $t_rc
standard output: $(<"$T_TMP/stdout")
standard error: $(<"$T_TMP/stderr")"
}

# The end of every test program: prints the plan. A program that dies before has none, and fails.
t_done()
{
	echo "1..$t_count"
	[ "$t_bad" -eq 0 ]
	exit
}
