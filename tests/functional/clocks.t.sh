#!/usr/bin/env bash
# The clocks of a guest against the host's, as it runs, after a pause, a restore and in copies; its timers and
# the alarm of the real-time clock, which come when they are due; `lkvm debug --clock`.
# shellcheck source=tests/functional/snapshot.bash
. "${0%/*}/snapshot.bash"

# boot OPTION...
boot()
{
	begin clocks.mb -c 2 "$@"
	heard '^ready wall=([0-9]+)$' || return
	wall=${BASH_REMATCH[1]}
}

# gone: it is, by a signal or --stop
gone()
{
	wait "$g_pid" 2>/dev/null
	exec 3<&- 4>&-
}

now_ns() { echo "${EPOCHREALTIME/[^0-9]/}000"; }

# ask: clock, tsc, rtc and stopped are what it says, at some time between before and after
ask()
{
	before=$(now_ns)
	printf c >&4
	heard '^clock ([0-9]+) tsc ([0-9]+) rtc ([0-9]+) stopped ([0-9]+)$' || return
	after=$(now_ns)
	clock=${BASH_REMATCH[1]} tsc=${BASH_REMATCH[2]} rtc=${BASH_REMATCH[3]} stopped=${BASH_REMATCH[4]}
}

ms=1000000

# right NAME: its time of day is the host's, up to 10 ms, and its real-time clock's up to a second
right()
{
	local day=86400
	t_ok "$1: time of day" test $((wall + clock)) -ge $((before - 10 * ms)) -a $((wall + clock)) -le $((after + 10 * ms))
	[ $(((rtc - before / ms / 1000 % day + 1 + day) % day)) -le $(((after - before) / ms / 1000 + 2)) ]
	t_report $? "$1: real-time clock" "$rtc, $before, $after"
}

# own_counter NAME: does the guest have a counter of its own, which can be set? Not with every KVM.
own_counter()
{
	[ "$own" = yes ] || t_skip "$1" "NOT TESTED: a guest has the host's counter"
	[ "$own" = yes ]
}

# both NAME: kvm-clock and counter have gone on by the same since it was $clock0 and $tsc0: a thousandth is allowed
# for, and a millisecond between looking at the one and at the other
both()
{
	local by=$(((tsc - tsc0) * 1000000 / khz)) want=$((clock - clock0))
	own_counter "$1: the counter agrees" || return 0
	t_ok "$1: the counter agrees" test $((by - want)) -le $((want / 1000 + ms)) -a $((want - by)) -le $((want / 1000 + ms))
}

debug() { "$LKVM" debug test --clock --json | jq -c "$1"; }

# ---- as it runs, and after a pause ----

boot
t_report $? "the guest starts"
t_run "$LKVM" debug test --clock --json
t_status 0
khz=$(jq '.vcpus[0].tsc_khz' "$T_TMP/stdout")
t_is "two counters, in step" "$(jq -c '[.vcpus[].tsc_apart]' "$T_TMP/stdout")" '[0,0]'
t_is "it uses kvm-clock" "$(jq .kvm_clock_used "$T_TMP/stdout")" true
t_is "its time of day is no more where it was told" "$(jq .realtime_ns "$T_TMP/stdout")" null
ask
clock0=$clock tsc0=$tsc stopped0=$stopped before0=$before
own=yes
[ $((tsc / khz)) -lt $((clock / ms + 1000)) ] || own=no # it was not 0 when the guest began
right "at first"
t_ok "debug --clock: kvm-clock" test "$(debug .kvm_clock_ns)" -ge "$clock"
t_ok "paused" "$LKVM" pause test
sleep 2
t_run "$LKVM" debug test --clock
t_status 0
t_stdout_like '^host: +20[0-9-]+ [0-9:]+\.[0-9]{9} UTC$'
t_stdout_like '^kvm-clock: +[0-9]+\.[0-9]{9} s$'
t_stdout_like '^time of day: +half written$'
t_stdout_like '^RTC: +20[0-9-]+ [0-9:]+ UTC, no alarm$'
t_stdout_like '^PIT: +channel 0 is not set$'
t_stdout_like "^ +1 +[0-9]+ +$khz +0$"
before=$(date +%s)
rtc=$(debug .rtc_seconds)
t_ok "debug --clock: the real-time clock is the host's" test "$rtc" -ge "$before" -a "$rtc" -le "$(date +%s)"
t_ok "resumed" "$LKVM" resume test
ask
right "after a pause"
both "after a pause"
t_ok "it was told of the pause" test "$stopped" -gt "$stopped0"
t_ok "which its clock has counted" test $((clock - clock0)) -ge $((2000 * ms))

# ---- alarm and timers that run ----

# set_alarm: to $alarm, in seconds since 1970
set_alarm()
{
	local now
	printf a >&4
	heard '^alarm set to ([0-9]+)$' || return
	now=$(date +%s)
	alarm=$((now + (BASH_REMATCH[1] - now % 86400 + 86400) % 86400))
}

# came NAME TIME: the alarm has come, not before it was due, and soon after that and TIME, in seconds since 1970
came()
{
	local late=-1 most=$(($2 > alarm ? $2 - alarm + 1 : 1))
	heard '^alarm came at ([0-9]+)$' && late=$(((BASH_REMATCH[1] - alarm % 86400 + 86400) % 86400))
	t_ok "$1: the alarm came when it was due" test "$late" -ge 0 -a "$late" -le "$most"
}

set_alarm
t_like "debug --clock: the alarm" "$("$LKVM" debug test --clock)" '^RTC: .*, alarm at 20[0-9-]+ [0-9:]+$'
came "as it runs" "$alarm"

# due NAME LEAST MOST: the timer has come, after so many milliseconds of the guest's
due()
{
	local after=0
	heard '^timer came after ([0-9]+)$' && after=${BASH_REMATCH[1]}
	t_ok "$1: the timer came when it was due" test "$after" -ge $(($2 * ms)) -a "$after" -le $(($3 * ms))
}

# ---- restored: what has passed counts, or not ----

printf t >&4
heard '^timer set$'
ask
clock0=$clock tsc0=$tsc stopped0=$stopped before0=$before
t_ok "saved" "$LKVM" snapshot test once --stop
gone
saved=$(now_ns)
sleep 5
go_on --restore once
ask
t_ok "saved: no time has passed" test "$clock" -ge "$clock0" -a $((clock - clock0)) -lt $((after - before0 - 4900 * ms))
both "saved"
t_ok "saved: it was told" test "$stopped" -gt "$stopped0"
t_is "saved: two counters, in step" "$(debug '[.vcpus[].tsc_apart]')" '[0,0]'
due "saved" 3990 6000
finish 1 "saved: no clock has gone back"

go_on --restore once --clock host
due "host, as it was long before" 5000 30000
ask
right "host"
both "host"
t_ok "host: it was told" test "$stopped" -gt "$stopped0"
t_ok "host: the time has passed" test $((clock - clock0)) -ge $((after - saved - (after - before)))
t_is "host: two counters, in step" "$(debug '[.vcpus[].tsc_apart]')" '[0,0]'

# The same with a deadline, as Linux has it
printf d >&4
heard '^timer set$'
t_ok "host: saved again" "$LKVM" snapshot test deadline
finish 1 "host: no clock has gone back"
for how in saved host; do
	go_on --restore deadline --clock $how
	[ $how = saved ] && own_counter "deadline, saved" && due "deadline, saved" 3990 6000
	[ $how = host ] && due "deadline, host" 3990 30000
	ask
	[ $how = saved ] || right "deadline, host"
	finish 1 "deadline, $how: no clock has gone back"
done

# ---- the alarm of one that was not there ----

# alarm_saved DIR SECONDS: it goes on so long after it was saved
alarm_saved()
{
	boot
	set_alarm
	t_ok "saved with its alarm" "$LKVM" snapshot test "$1" --stop
	gone
	sleep "$2"
	go_on --restore "$1"
}

alarm_saved alarm-ahead 0
came "restored before its alarm" "$(date +%s)"
finish 1 "alarm ahead: no clock has gone back"
alarm_saved alarm-over 4
came "restored after its alarm" "$(date +%s)"
finish 1 "alarm over: no clock has gone back"

boot
printf h >&4
set_alarm
until printf w >&4 && heard '^(no |)alarm waits$' && [ -z "${BASH_REMATCH[1]}" ]; do
	sleep 0.1
done
t_ok "saved with an alarm that waits" "$LKVM" snapshot test alarm-waits --stop
gone
sleep 1
go_on --restore alarm-waits
printf w >&4
heard '^(no |)alarm waits$'
t_is "it waits" "${BASH_REMATCH[1]-none}" ''
printf h >&4
came "it has waited" "$(date +%s)"
finish 1 "alarm that waits: no clock has gone back"

# ---- copies ----

boot
ask
t_run "$LKVM" fork test
t_status 0
t_run "$LKVM" fork test --clock host --prefix told
t_status 0
ask
right "who was copied"
finish 1 "who was copied: no clock has gone back"
for copy in test-1 told-1; do
	before=$(now_ns)
	t_run "$LKVM" console --lines 9 $copy < <(printf cq)
	after=$(now_ns)
	t_status 0
	[[ $(tail -n 1 "$T_TMP/stdout") =~ clock\ ([0-9]+).*rtc\ ([0-9]+) ]]
	clock=${BASH_REMATCH[1]} rtc=${BASH_REMATCH[2]}
done
right "a copy that is told"

# ---- what lkvm sees of a time of day that is left where it was told ----

# behind NAME LEAST MOST: so many milliseconds
behind()
{
	local ns
	ns=$(debug .behind_ns)
	t_ok "$1: debug --clock tells that its time of day is late" test "$ns" -ge $(($2 * ms)) -a "$ns" -le $(($3 * ms))
}

boot -p keep
behind "as it runs" -10 10
ask
saved=$(now_ns)
t_ok "saved, with its time of day" "$LKVM" snapshot test wall --stop
gone
sleep 2
for how in saved host; do
	go_on --restore wall --clock $how
	ask
	[ $how = saved ] && behind "saved" 2000 $(((after - saved) / ms + 1))
	[ $how = host ] && behind "host" -10 10
	finish 1 "$how: no clock has gone back"
done
t_run "$LKVM" snapshot --show wall
t_stdout_like '^  realtime_ns +0x1[0-9a-f]{15}$'

# ---- what does not go ----

t_fails 125 "--clock is about those of --restore" "$LKVM" run --clock host -k "$GUESTS/clocks.mb"
t_run "$LKVM" run --restore once --clock later
t_status 125
begin echo.bin
until_true "$LKVM" stat test >/dev/null 2>&1
t_run "$LKVM" debug test --clock
t_status 0
t_stdout_like '^kvm-clock: +the guest does not use it$'
t_stdout_like '^time of day: +the guest has not asked for it$'
t_fails 125 "debug: --json is for --memmap, --clock, --regs or --backtrace, one of them" "$LKVM" debug test --clock --regs --json
"$LKVM" stop test >/dev/null
gone
t_done
