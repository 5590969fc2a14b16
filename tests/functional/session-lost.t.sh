#!/usr/bin/env bash
# A guest whose init says hello and takes commands, and then closes its session or takes no more of them: what
# becomes of those that there are. With real guests: tests/testbed/session.sh.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

log=$T_TMP/log
run=("$LKVM" run --debug-exit -c 1 -m 64 --name test -k "$GUESTS/session.bz" --log "$log")

# closes COMMANDS THEN [ARG]...: it does, after so many commands; see tests/guest/session.c
closes()
{
	local commands=$1 then=$2
	shift 2
	t_run "${run[@]}" -p "commands=$commands" -p "then=$then" "$@"
	t_command="a guest that closes its session, then=$then"
}

# until_true CMD...: poll, at most 20 s
until_true()
{
	local i
	for ((i = 0; i < 1000; i++)); do
		"$@" && return
		sleep 0.02
	done
	return 1
}

# ---- it runs on ----

closes 1 0 -- true
t_status 122
t_stderr_like "^lkvm: warning: guest 'test': it has closed its session, and runs on$"

# What waits for a command there is told, and what comes then.
"${run[@]}" --result "$T_TMP/result" -p commands=2 -p then=0 -- true >/dev/null 2>&1 </dev/null &
t_ok "it is up" until_true test -S "$LKVM_DIR/test.sock"
lost="guest 'test' tells no more of the command: it has closed its session"
exec_in()
{
	"$LKVM" exec test -- true </dev/null 2>"$T_TMP/exec"
	echo $? >"$T_TMP/status"
	! grep -q 'has not booted yet' "$T_TMP/exec"
}
t_ok "it takes a command" until_true exec_in
t_is "the command's status" "$(cat "$T_TMP/status")" 1
t_is "what became of it" "$(cat "$T_TMP/exec")" "lkvm: $lost"
wait $!
t_is "the guest's own command" $? 122
t_like "in the result" "$(cat "$T_TMP/result")" '"reason": "command"'

# One that is there for lkvm exec stays.
t_run "${run[@]}" --detach --root / -p commands=1 -p then=0
t_status 0
t_fails 1 "$lost" "$LKVM" exec test -- true
t_fails 1 "$lost" "$LKVM" exec test -- true
t_run "$LKVM" stop test
t_status 0

# ---- it ends by itself ----

closes 1 1 -- true
t_status 120
closes 1 2 -- true
t_status 122
t_stderr_like "^lkvm: guest 'test' ended: before the command did$"

# ---- it takes nothing ----

: >"$log"
t_run "${run[@]}" --detach --root / -p commands=0 -p then=3
t_status 0
t_ok "it is up" until_true grep -q '^up' "$log"
for ((i = 0; i < 15; i++)); do words[i]=$(printf '%0100000d' "$i"); done
for i in 1 2 3; do
	timeout -s KILL 60 "$LKVM" exec test -- true "${words[@]}" </dev/null 2>"$T_TMP/exec.$i" &
done
wait -n # the third that arrives
t_is "no more long commands than there is room for" "$?,$(cat "$T_TMP"/exec.?)" \
	"1,lkvm: guest 'test' has not taken the commands before this one"
t_run "$LKVM" stop test
t_status 0
wait
t_is "the others" "$(cat "$T_TMP"/exec.? | sort | uniq -c | sed 's/^ *//')" \
	"2 lkvm: guest 'test' has ended before the command did
1 lkvm: guest 'test' has not taken the commands before this one"
g_no_leftovers 'a session that was closed'
t_done
