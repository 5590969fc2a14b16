#!/usr/bin/env bash
# `lkvm console`: to the console of a running guest and away from it, on terminals and on pipes; several at
# once, some of which do not read, or are killed.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
: "${PTY:?is the program that runs a command on a terminal}"

guest=("$LKVM" run -c 1 -m 64 --debug-exit --name test)
look=("$LKVM" console test)
# shellcheck disable=SC2016
known=(sh -c 'echo $$ >client; exec "$@"' - "${look[@]}") # the file "client" has its PID
ctrl_a=$'\001'
cd "$T_TMP" || exit
trap '"$LKVM" stop --all >/dev/null 2>&1; kill -9 $(jobs -p) 2>/dev/null; rm -rf "$T_TMP"' EXIT

# detached [OPTION]...: a guest whose console leads nowhere; pid is lkvm's
detached()
{
	"${guest[@]}" --detach "$@" >/dev/null 2>&1
	pid=$("$LKVM" list --json | jq '.[].pid')
}

# on_tty NAME STATUS [STEP]... -- CMD [ARG]...
on_tty()
{
	local name=$1 status=$2
	shift 2
	t_run "$PTY" "$@"
	t_command=$name
	t_status "$status"
}

# has FILE TEXT
has()
{
	grep -qaF -- "$2" "$1"
}

gone()
{
	[ ! -e "$LKVM_DIR/test.sock" ] && ! kill -0 "$pid" 2>/dev/null
}

descriptors()
{
	find "/proc/$pid/fd" -mindepth 1 | wc -l
}

# as_many N: lkvm has that many open
as_many()
{
	[ "$(descriptors)" -eq "$1" ]
}

printed()
{
	"$LKVM" stat --json test | jq .console_bytes
}

# printed_since BYTES: it has printed more than that
printed_since()
{
	[ "$(printed)" -gt "$1" ]
}

# ---- on a terminal ----

detached -k "$GUESTS/echo.bin"
fds=$(descriptors)
on_tty 'attach, type, detach' 0 expect "guest 'test': Ctrl-a d leaves its console, Ctrl-a ? lists the keys" expect '>' \
	raw send 'hello' expect hello send "${ctrl_a}d" expect "left guest 'test', which runs on" -- "${look[@]}"
t_stdout_like $'^lkvm: left guest .*\r$' # a line of its own
on_tty 'again: what was printed last' 0 expect '>hello' raw send "on${ctrl_a}a" expect "on$ctrl_a" \
	send "${ctrl_a}?" expect 'Ctrl-a d  ' expect 'Ctrl-a x  end the guest' send "${ctrl_a}d" -- "${look[@]}"
on_tty '--lines 0: only what is new' 0 raw send new expect new send "${ctrl_a}d" -- "${look[@]}" --lines 0
t_unlike '--lines 0: nothing of before' "$(t_stdout)" hello
on_tty '--escape ^]' 0 expect 'Ctrl-] d leaves' raw send $'\001d' expect $'\001d' send $'\035d' -- \
	"${look[@]}" --escape '^]'
on_tty '--escape none' 143 raw send "${ctrl_a}dx" expect "${ctrl_a}dx" kill 15 -- "${look[@]}" --escape none
t_unlike '--escape none: no keys' "$(t_stdout)" leaves
for signal in HUP INT TERM QUIT; do
	number=$(kill -l $signal)
	on_tty "SIG$signal" $((128 + number)) expect leaves raw kill "$number" -- "${look[@]}"
done
# shellcheck disable=SC2016
on_tty 'killed, the shell restores the terminal' 137 expect leaves raw \
	shell 'kill -KILL "$(cat client)"' -- \
	bash -c 'before=$(stty -g); "$@"; status=$?; stty "$before"; exit $status' - "${known[@]}"
# shellcheck disable=SC2016
on_tty 'SIGTSTP, then fg' 0 expect leaves raw shell 'kill -TSTP "$(cat client)"' expect stopped cooked \
	send $'go\r' raw send fg expect fg send "${ctrl_a}d" expect 'status 0' -- \
	bash -c 'set -m; "$@"; echo stopped; read -r line; fg >/dev/null; echo status $?' - "${known[@]}"
# Only one end is a terminal.
# shellcheck disable=SC2016
on_tty 'to a file' 0 raw send file shell 'grep -q file out' send "${ctrl_a}d" -- \
	bash -c 'exec "$@" >out' - "${look[@]}" --lines 0
# shellcheck disable=SC2016
on_tty 'from a pipe' 130 expect piped cooked send $'\003' -- \
	bash -c 'trap : INT; { printf piped; read -r line </dev/tty; } | "$@"; exit ${PIPESTATUS[1]}' - "${look[@]}"
t_ok 'nothing is left of them in lkvm' until_true as_many "$fds"
on_tty 'Ctrl-a x' 0 expect '>' raw send "${ctrl_a}x" expect "guest 'test' has ended" -- "${look[@]}"
t_ok 'Ctrl-a x: the guest ends' until_true gone

detached -k "$GUESTS/echo.bin" --result "$T_TMP/result.json"
on_tty 'the guest ends by itself' 0 expect '>' raw send 'bye q' expect 'bye q' expect "guest 'test' has ended" -- \
	"${look[@]}"
t_ok 'the guest ends by itself: its own status' until_true grep -q '"status": 1,' "$T_TMP/result.json"
t_ok 'it has ended' until_true gone
detached -k "$GUESTS/echo.bin"
on_tty 'lkvm stop' 0 expect '>' raw shell "$LKVM stop test" -- "${look[@]}"
detached -k "$GUESTS/echo.bin"
on_tty 'lkvm is killed' 1 expect '>' raw shell "kill -9 $pid" expect "guest 'test' has died" -- "${look[@]}"
"$LKVM" list >/dev/null 2>&1

# ---- the size of a terminal ----

# shellcheck disable=SC2016
sized='stty cols "$1" rows "$2"; shift 2; exec "$@"'
detached -m 128 -k "$GUESTS/hvc.mb" --console virtio -p flood=0
t_ok 'the guest is ready' until_true printed_since 18 # of "0 columns, 0 rows"
on_tty 'size' 0 expect '0 columns' expect '>' raw send a expect '90 columns, 30 rows' expect a \
	size 133x40 send b expect '133 columns, 40 rows' expect b send "${ctrl_a}d" -- \
	bash -c "$sized" - 90 30 "${look[@]}"
on_tty 'size: nobody there' 0 raw send c expect '100 columns, 25 rows' expect c send "${ctrl_a}x" -- \
	bash -c "$sized" - 100 25 "${look[@]}"
t_ok 'it has ended' until_true gone

# ---- pipes and files ----

# following FILE [OPTION]...: in the background, with nothing to type; $follower is its PID
following()
{
	local file=$1
	shift
	"${look[@]}" "$@" </dev/null >"$file" 2>"$file.err" &
	follower=$!
}

# follower_ends STATUS NAME
follower_ends()
{
	local status=0
	wait "$follower" || status=$?
	t_is "$2: status" "$status" "$1"
}

detached -k "$GUESTS/echo.bin"
following log
t_ok 'what was printed before' until_true has log '>'
echo typed | "${look[@]}" >piped 2>&1 &
t_ok 'what is typed is seen by others' until_true has log typed
printf 'by the third q' | "${look[@]}" --lines 0 >third 2>&1
t_is 'the third: status' $? 0
follower_ends 0 'until the guest ends'
wait %% 2>/dev/null
t_is 'all of it' "$(cat log)" $'>typed\nby the third q'
t_is 'one that types sees the same' "$(cat piped)" $'>typed\nby the third q'
t_like 'only what is new' "$(tr '\n' '/' <third)" '^(typed/)?by the third q$'
t_is 'no messages without a terminal' "$(cat log.err)" ''

detached -k "$GUESTS/echo.bin"
t_run bash -c '"$@" </dev/null | head -c 1; exit ${PIPESTATUS[0]}' - "${look[@]}"
t_command='the reader leaves'
t_status 141
t_stdout_is '>'
t_fails 1 "write 'standard output': No space left on device" bash -c 'exec "$@" </dev/null >/dev/full' - "${look[@]}"
timeout 1 "${look[@]}" <&- >out 2>&1
t_is 'a closed standard input' "$?,$(cat out)" '124,>'
t_fails 125 "guest 'test': standard input or output is of a kind that it does not take" \
	bash -c 'exec "$@" </' - "${look[@]}"
kill -STOP "$pid"
t_fails 125 "guest 'test': process $pid is stopped (kill -CONT $pid)" "${look[@]}"
kill -CONT "$pid"
t_fails 125 "no guest named 'tset' is running, did you mean 'test'?" "$LKVM" console tset
t_run "$LKVM" stop test
t_status 0
t_fails 125 "no guest named 'test' is running" "${look[@]}"

# ---- beside standard input and output ----

mkfifo in
"${guest[@]}" -k "$GUESTS/echo.bin" <in >own 2>/dev/null &
g_pid=$!
exec 4>in
t_ok 'the guest prints' until_true has own '>'
printf a >&4
t_ok 'standard input' until_true has own a
on_tty 'and a client' 0 expect '>a' raw send b expect b send "${ctrl_a}d" -- "${look[@]}"
printf q >&4
wait "$g_pid"
t_is 'both: status' $? 1
t_is 'both: standard output has all' "$(cat own)" '>abq'
exec 4>&-

# ---- those who do not read, and those who are killed ----

detached -k "$GUESTS/flood.bin"
fds=$(descriptors)
mkfifo pipe
following pipe
stopped=$follower
exec 5<pipe
IFS= read -r -n 1 <&5
kill -STOP "$stopped"
with_one=$(descriptors)
# Nobody reads what it leads to: the pipe and what is kept for it are full after 320 KB.
before=$(printed)
t_ok 'a client that reads nothing: the guest goes on' until_true printed_since $((before + 350000))
following quick --lines 0
t_ok 'others are served' until_true has quick f
{ kill -9 "$follower"; wait "$follower"; } 2>/dev/null
t_ok 'a client is killed: nothing is left' until_true as_many "$with_one"
kill -CONT "$stopped"
t_like 'it has a note of what it missed' "$(timeout 60 grep -am 1 lkvm <&5 | tr -d '\r')" \
	'^\[lkvm: [0-9]+ bytes of output dropped\]$'
{ kill -9 "$stopped"; wait "$stopped"; } 2>/dev/null
exec 5<&-
t_ok 'both are gone: nothing is left' until_true as_many "$fds"

# On a terminal: the client itself is stopped.
# shellcheck disable=SC2016
on_tty 'a stopped terminal' 0 expect leaves raw shell 'kill -STOP "$(cat client)"' \
	shell "$LKVM stat test >/dev/null" shell "$LKVM console --lines 1 test </dev/null | head -c 100000 >/dev/null" \
	shell 'kill -CONT "$(cat client)"' send "${ctrl_a}d" expect 'left guest' -- "${known[@]}"
following all --lines 0
t_ok 'it reads' until_true test -s all
t_run "$LKVM" stop test
t_status 0
follower_ends 0 'the guest ends while it prints'
g_no_leftovers 'at the end'
t_done
