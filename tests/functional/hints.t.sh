#!/usr/bin/env bash
# `lkvm snapshot --hint`: what a guest says is free is left out, and nothing else, whatever has written there since.
# tests/guest/hints.c says what the guest does.
# shellcheck source=tests/functional/snapshot.bash
. "${0%/*}/snapshot.bash"

T_LIMIT=300 # an emulated host is slow

truncate -s 1M other
seq -f '%015.0f' 0 65535 >disk # each line of 16 bytes says which it is

# hints WORDS [OPTION]...: the guest, as it is ready
hints()
{
	local words=$1
	shift
	begin hints.mb -d disk -p "$words" "$@"
	t_ok "$words${*:+ $*}: the guest starts" heard '^ready$'
}

# its MARK: the number behind it in the guest's last answer
its() { sed -n "s/^.*$1 \([0-9]*\).*\$/\1/p" <<<"$REPLY"; }

# kib FILE: that it takes
kib() { echo $(($(stat -c %b "$1") / 2)); }

# saved [OPTION]...: as it says; the guest itself goes on
saved()
{
	rm -rf snap
	t_run "$LKVM" snapshot test snap "$@"
	t_status 0
}

# runs_on NAME: it has all of its memory, and plays another round
runs_on()
{
	t_ok "$1: the guest itself has all of it" heard '^zeros 0 used [0-9]+$'
	t_ok "$1: and goes on" heard '^ready$'
}

# copied NAME: what a copy finds; its line is in REPLY
copied()
{
	restore snap q "${@:2}"
	t_status 1
	REPLY=$(tr -d '\r' <"$T_TMP/stdout" | grep '^zeros')
	t_like "$1: the copy finds what was written" "$REPLY" '^zeros [0-9]+ used [0-9]+$'
}

# all_left_out NAME: of 8192 pages all but those that were used again
all_left_out()
{
	copied "$@"
	t_ok "$1: it has the others no more: $REPLY" [ $(($(its zeros) + $(its used) + 0)) -ge 8191 ]
	t_ok "$1: that is most of them: $REPLY" [ "$(its zeros)" -ge 7000 ]
}

# nothing_left_out NAME
nothing_left_out()
{
	copied "$@"
	t_is "$1: all is there" "$(its zeros)" 0
}

# ---- what is hinted, and was not written since, is left out ----

hints stop
saved
whole=$(kib snap/ram)
t_ok "without --hint 32MB are saved" [ "$whole" -ge 32768 ]
for i in 1 2; do
	saved --hint
	t_stdout_like "^lkvm: guest 'test' saved in 'snap': [0-9]+MB of RAM \((2[7-9]|3[0-2])MB were free\), 1 disk .*"
	t_stderr_is ''
	runs_on "all is told ($i)"
	t_ok "28MB less are saved ($i)" [ "$(kib snap/ram)" -le $((whole - 27 * 1024)) ]
	all_left_out "all is told ($i)"
done
finish 1 "all is told"
# A copy is asked by a number that its driver does not know yet.
go_on --restore snap
heard '^ready$'
saved --hint
runs_on "a copy"
finish 1 "a copy"
all_left_out "a copy of a copy"

hints 'stop packed' --balloon=packed
saved --hint
runs_on "packed rings"
finish 1 "packed rings"
all_left_out "packed rings"

hints stop --virtio-transport mmio
saved --hint --stop
g_wait
exec 4>&-
all_left_out "MMIO, and the guest ends"

# ---- who does not answer holds it up for half a second; what he has said by then is true ----

hints ''
saved --hint
runs_on "not all is told"
finish 1 "not all is told"
all_left_out "not all is told"

for words in silent stale; do
	hints "$words"
	saved --hint
	t_stdout_like "MB of RAM \(0MB were free\)"
	runs_on "$words"
	finish 1 "$words"
	nothing_left_out "$words"
done

# ---- where nothing can be left out, that is said ----

hints 'stop poison'
saved --hint
t_stderr_is "lkvm: warning: guest 'test' could not be asked what is free (--hint): it wants to find in free pages what it \
has written there"
finish 1 "poison"
t_is "poison: all is saved" "$([ "$(kib snap/ram)" -ge "$whole" ] && echo yes)" yes

hints stop
"$LKVM" pause test >/dev/null
saved --hint
t_stderr_is "lkvm: warning: guest 'test' could not be asked what is free (--hint): it stands still"
"$LKVM" resume test >/dev/null
finish 1 "paused"

hints stop --mem-share
saved --hint
t_stderr_is "lkvm: warning: guest 'test' could not be asked what is free (--hint): other processes may write to its RAM"
finish 1 "RAM that others share"

begin witness.mb -d other -p disks=1
heard '^ready$'
saved --hint
t_stderr_is "lkvm: warning: guest 'test' could not be asked what is free (--hint): its driver of the balloon knows no \
hints, or is not there"
finish 1 "no driver"

begin witness.mb -d other -p disks=1 --no-balloon
heard '^ready$'
saved --hint
t_stderr_is "lkvm: warning: guest 'test' could not be asked what is free (--hint): it has no balloon"
finish 1 "no balloon"

# ---- who has asked goes away in between, or the guest does ----

hints silent
"$LKVM" snapshot test gone --hint >gone.out 2>&1 &
heard '^asked$'
kill -TERM $! # a shell's background jobs do not hear INT
wait $! 2>/dev/null
runs_on "nobody waits for it any more"
t_ok "and nothing is left" [ ! -e gone ]
saved --hint
runs_on "but it can be asked again"
"$LKVM" snapshot test gone --hint >gone.out 2>&1 &
heard '^asked$'
"$LKVM" stop test
wait $!
g_wait
exec 4>&-
t_is "who waits for a guest that has ended hears of it" "$(<gone.out)" \
	"lkvm: guest 'test' cannot be saved in 'gone': the guest ended before"
t_is "nothing is left of it" "$(find . -name '.lkvm*' -o -name gone)" ''
t_done
