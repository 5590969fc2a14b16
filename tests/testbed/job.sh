# shellcheck shell=dash disable=SC2154 # failures, expectations, skipped: set by one_test
# What the jobs share that boot Linux guests and judge them (linux-job.sh, virtio-job.sh); they read
# this file, set $tests (a line each: NAME and a title), define a function test_NAME for each, and
# end with run_tests "$@". TAP on standard output. Two tests run at a time, in one host or in two; each
# runs guests and calls expect_*, which note what is wrong.
#
# Those whose NAME has a + in front are variants and long ones: an emulated host leaves them out if they are not named
# and LINUX_TESTS is not "all".

per_guest=300 # seconds; a boot takes 5 to 20 on a machine with nothing else to do
export LKVM_DIR="$PWD/sockets"

# Each test runs in a subshell; its failures are lines in $failures.
complain()
{
	echo "$*" >>"$failures"
}

# expect_status NAME STATUS: how guest NAME ended
expect_status()
{
	local status
	echo >>"$expectations"
	status=$(cat "$1.status" 2>/dev/null)
	[ "$status" = "$2" ] || complain "guest $1 ended with status '$status', not $2"
}

# expect_line NAME REGEX: a whole line of its console
expect_line()
{
	echo >>"$expectations"
	tr -d '\r' <"$1.out" | grep -qxE "$2" || complain "guest $1 did not print a line '$2'"
}

# expect_no_line NAME REGEX
expect_no_line()
{
	echo >>"$expectations"
	! tr -d '\r' <"$1.out" | grep -qxE "$2" || complain "guest $1 printed a line '$2'"
}

# expect WHAT COMMAND...: it succeeds
expect()
{
	local what=$1
	shift
	echo >>"$expectations"
	"$@" || complain "$what: '$*' failed"
}

# skip REASON: the test cannot be run here; it must return then
skip()
{
	echo >>"$expectations"
	echo " # SKIP $*" >"$skipped"
}

# run NAME LKVM-RUN-OPTION...: to its end; output in NAME.out and NAME.err, status in NAME.status
run()
{
	local name=$1
	shift
	timeout -k 10 "$per_guest" lkvm run --name "$name" "$@" >"$name.out" 2>"$name.err"
	echo $? >"$name.status"
}

# start NAME OPTION...: in the background, with a pipe as its standard input: NAME.in, fd 9
start()
{
	mkfifo "$1.in"
	run "$@" <"$1.in" &
}

# In seconds
uptime()
{
	local seconds
	read -r seconds _ </proc/uptime
	echo "${seconds%.*}"
}

# wait_until WHAT COMMAND...: it succeeds before long
wait_until()
{
	local what=$1 end
	end=$(($(uptime) + per_guest))
	shift
	while ! "$@"; do
		if [ "$(uptime)" -ge "$end" ]; then
			complain "waited in vain for $what"
			return 1
		fi
		sleep 0.2
	done
}

ended() { [ -s "$1.status" ]; }
printed_or_ended() { ended "$1" || grep -qE "$2" "$1.out" 2>/dev/null; }
wait_line() { wait_until "'$2' from guest $1" printed_or_ended "$1" "$2"; }
wait_end() { wait_until "the end of guest $1" ended "$1"; }
lines() { wc -l <"$1.out"; }
more_lines_than() { ended "$1" || [ "$(lines "$1")" -gt "$2" ]; }

# save NAME DIR [OPTION]...
save() { expect "guest $1 is saved" timeout 60 lkvm snapshot "$@"; }

# goes_on NAME DIR [LINE]: a guest that was saved, to its end; when it has printed LINE it reads a line of input
goes_on()
{
	start "$1" --restore "$2"
	exec 9>"$1.in"
	[ -z "${3-}" ] || wait_line "$1" "$3"
	echo text >&9
	wait_end "$1"
	expect_status "$1" 0
	expect_line "$1" "guest: read <text>"
}

# Guests of a test that gave up.
clean_up()
{
	exec 8>&- 9>&-
	for pid in $(jobs -p); do
		kill "$pid" 2>/dev/null
		kill -CONT "$pid" 2>/dev/null # one that is suspended would not hear it
	done
	wait
}

# one_test NUMBER NAME TITLE
one_test()
{
	failures=$2.failures expectations=$2.expectations skipped=$2.skipped
	: >"$failures"
	: >"$expectations"
	: >"$skipped"
	started=$(uptime)
	(
		"test_$2" >"$2.log" 2>&1
		clean_up
	)
	seconds=$(($(uptime) - started))
	[ -s "$expectations" ] || complain "the test expected nothing"
	if [ -s "$failures" ]; then
		report=$(
			sed 's/^/# /' "$failures"
			tail -n 60 "$2.out" "$2"-*.out "$2.err" "$2"-*.err "$2.log" 2>/dev/null | tr -dc '\n\t -~' | sed 's/^/#   /'
		)
		printf 'not ok %s - %s (%s s)\n%s\n' "$1" "$3" "$seconds" "$report"
	else
		echo "ok $1 - $3 ($seconds s)$(cat "$skipped")"
	fi
}

# lane [K]: the tests whose turn it is. Both lanes of one host walk the list, and who makes the folder
# runs the test; of several hosts, each has its own share, K of $lanes.
lane()
{
	turn=0
	echo "$chosen" | while read -r name title; do
		turn=$((turn + 1))
		[ -z "$1" ] || [ $((turn % lanes)) -eq $(($1 % lanes)) ] || continue
		mkdir "claim.$name" 2>/dev/null && one_test $turn "$name" "$title"
	done
}

# choose [NAME]...: sets $chosen, lines of $tests, $left_out, names, and $planned; a name that is none is a test that did
# not run
choose()
{
	local pattern
	left_out='' planned=$#
	if [ $# -gt 0 ]; then
		pattern=$(printf '%s\n' "$@" | paste -s -d '|')
		chosen=$(echo "$tests" | grep -E "^\+?($pattern) ")
	elif [ -z "${LANE-}" ] || [ "${LINUX_TESTS-}" = all ]; then
		chosen=$(echo "$tests" | grep .)
	else
		chosen=$(echo "$tests" | grep '^[^+]')
		left_out=$(echo "$tests" | sed -n 's/^+\([^ ]*\) .*/\1/p' | paste -s -d ' ')
	fi
	chosen=$(echo "$chosen" | sed 's/^+//')
	[ $# -gt 0 ] || planned=$(echo "$chosen" | wc -l)
}

# run_tests [NAME]...: those, or all. $LANE says which of how many hosts this is, if it is an emulated one.
run_tests()
{
	local lanes=${LANE-}
	lanes=${lanes#*/}
	choose "$@"
	case ${LANE-1/1} in
	1/*)
		echo "1..$planned"
		[ -z "$left_out" ] || echo "# left out here, LINUX_TESTS=all has them: $left_out"
		;;
	esac
	if [ "${lanes:-1}" -gt 1 ]; then
		lane "${LANE%/*}"
	else
		lane "" &
		lane "" &
		wait
	fi
}
