#!/usr/bin/env bash
# The tests of tests/testbed/snapshot.sh, where KVM can run Linux; $CLOUD, $RT and $BACKPORT are kernels of
# Debian, $FILES has an initrd for each. guest-snapshot says what the words of lkvm.test= do.
tests="
+disk      the page cache of a guest that goes on agrees with its disk; killed, restored, restored again
+packed    the same with packed rings and two CPUs
mmio       the same over MMIO, with Linux 6.12
+rt        the same with PREEMPT_RT
+boot      saved in early boot, and as it loads modules
+load      saved in the middle of loading a module
+traces    saved while it prints what all its tasks do
forks      many copies at once, each of which goes on to its end
clock      the guest's clocks do not go back, and do not count the time that it was not there
+host      with --clock host the time of day is as right as before, within 10 ms, and no clock goes back
+watchdog  a guest that was paused for long does not take that for a lock-up
random     each copy knows that it is one, and has random numbers of its own
+button    the power button of a guest that goes on
folders    files of the host, open, half read and replaced, by virtio-fs and 9P; and a copy that runs on
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"

# linux NAME KERNEL WORDS OPTION...: in the background; NAME.in is its input, and fd 9
linux()
{
	local name=$1 kernel=$2 words=$3
	shift 3
	start "$name" -k "${!kernel}" -i "$FILES/${kernel,,}" -p "quiet lkvm.test=$words" -c 1 -m 128 "$@"
	exec 9>"$name.in"
}

# restored NAME DIR OPTION...: likewise
restored()
{
	local name=$1 dir=$2
	shift 2
	start "$name" --restore "$dir" "$@"
	exec 9>"$name.in"
}

# saved NAME DIR
saved()
{
	timeout 60 lkvm snapshot "$1" "$2" >>"$1.log" 2>&1 || complain "guest $1 cannot be saved: $(tail -n 1 "$1.log")"
}

is_up() { ended "$1" || lkvm stat "$1" >/dev/null 2>&1; }

killed()
{
	pkill -KILL -f "run --name $1 " # lkvm itself, not the timeout around it
	wait_end "$1"
}

# kept NAME: how many files it has written by now
kept() { tr -d '\r' <"$1.out" | sed -n 's/^guest: kept \([0-9]*\)$/\1/p' | tail -n 1; }
has_kept() { ended "$1" || [ "$(kept "$1")" -ge "$2" ] 2>/dev/null; }
wait_kept() { wait_until "file $2 of guest $1" has_kept "$1" "$2"; }

# agrees NAME KERNEL OPTION...: it is saved, writes on, is killed; goes on from where it was saved, is saved,
# writes on, ...; at last it ends by itself, and its file system is whole
agrees()
{
	local name=$1 kernel=$2 i count
	shift 2
	truncate -s 32M "$name.disk"
	mke2fs -q -t ext4 "$name.disk"
	linux "$name-0" "$kernel" keep -d "$name.disk" "$@"
	wait_kept "$name-0" 3
	saved "$name-0" "$name.saved-1"
	for ((i = 1; i <= SNAPSHOT_ROUNDS; i++)); do
		count=$(kept "$name-$((i - 1))")
		wait_kept "$name-$((i - 1))" $((count + 3))
		killed "$name-$((i - 1))"
		restored "$name-$i" "$name.saved-$i"
		wait_kept "$name-$i" $((count + 1))
		[ "$i" -eq "$SNAPSHOT_ROUNDS" ] || saved "$name-$i" "$name.saved-$((i + 1))"
		expect_no_line "$name-$i" "guest: file .* is not what it was"
	done
	killed "$name-$((i - 1))"
	restored "$name-end" "$name.saved-$SNAPSHOT_ROUNDS" --disks rw
	wait_kept "$name-end" 1
	echo >&9
	wait_end "$name-end"
	expect_status "$name-end" 0
	expect_line "$name-end" "guest: keep ends"
	expect_no_line "$name-end" "guest: file .* is not what it was"
	expect "its file system" e2fsck -fn "$name.saved-$SNAPSHOT_ROUNDS/disk0"
}

test_disk() { agrees disk CLOUD; }
test_packed()
{
	truncate -s 1M unused
	agrees packed CLOUD -c 2 --rng=packed -d unused,packed
}

test_mmio() { agrees mmio BACKPORT --virtio-transport mmio; }
test_rt() { agrees rt RT; }

# saved_at NAME LINE: when the kernel has said that
saved_at()
{
	start "$1" -k "$CLOUD" -i "$FILES/cloud" -p "lkvm.test=input,show,poweroff" -c 1 -m 128
	exec 9>"$1.in"
	wait_line "$1" "$2"
	saved "$1" "$1.saved"
	killed "$1"
	restored "$1-on" "$1.saved"
	wait_line "$1-on" "guest: type a line"
	echo text >&9
	wait_end "$1-on"
	expect_status "$1-on" 0
	expect_line "$1-on" "guest: cpus 1"
}

test_boot()
{
	saved_at boot-early "Command line:"
	saved_at boot-late "Run /init as init process"
}

# counted NAME WORD: how often it has said so by now
counted() { tr -d '\r' <"$1.out" | sed -n "s/^guest: $2 \([0-9]*\)\$/\1/p" | tail -n 1; }
has_counted() { ended "$1" || [ "$(counted "$1" "$2")" -ge "$3" ] 2>/dev/null; }
wait_counted() { wait_until "'$2 $3' of guest $1" has_counted "$1" "$2" "$3"; }

# saved_busy NAME WORD SAYS ENDS: in the middle of what its word makes it do, $SNAPSHOT_ROUNDS times
saved_busy()
{
	local name=$1 i
	linux "$name-0" CLOUD "$2"
	wait_counted "$name-0" "$3" 1
	for ((i = 1; i <= SNAPSHOT_ROUNDS; i++)); do
		sleep "0.$((RANDOM % 10))" # at any moment
		saved "$name-$((i - 1))" "$name.saved-$i"
		killed "$name-$((i - 1))"
		restored "$name-$i" "$name.saved-$i"
		wait_counted "$name-$i" "$3" 1
		rm -rf "$name.saved-$((i - 1))"
	done
	echo >&9
	wait_end "$name-$((i - 1))"
	expect_status "$name-$((i - 1))" 0
	expect_line "$name-$((i - 1))" "$4"
}

test_load() { saved_busy load reload reloaded "guest: reload ends"; }
test_traces() { saved_busy traces traces traced "guest: traces end"; }

# answers NAME: a copy reads a line, says what it sees of itself, and ends
answers()
{
	timeout "$per_guest" lkvm console --lines 50 "$1" < <(echo text) >"$1.out" 2>&1
	expect_line "$1" "guest: cpus 1"
	expect_no_line "$1" ".*(BUG|Oops|soft lockup).*"
}

test_forks()
{
	local per_guest=3000 count=${SNAPSHOT_FORKS:-3} name
	linux forks CLOUD input,show,poweroff -m 96
	wait_line forks "guest: type a line"
	timeout "$per_guest" lkvm fork forks --count "$count" >forks.names 2>>forks.log ||
		complain "fork: $(tail -n 1 forks.log)"
	expect "$count names" [ "$(wc -l <forks.names)" -eq "$count" ]
	expect "all of them at once" [ "$(lkvm list --quiet | grep -c '^forks-')" -eq "$count" ]
	while read -r name; do
		answers "$name" </dev/null
	done <forks.names
	expect "they have ended" [ "$(lkvm list --quiet | grep -c '^forks-')" -eq 0 ]
	echo text >&9
	wait_end forks
	expect_status forks 0
}

# uptimes NAME: as its word "clock" prints them, in hundredths of a second
uptimes() { tr -d '\r' <"$1.out" | sed -n 's/^guest: clock \([0-9]*\)$/\1/p'; }

test_clock()
{
	local last first
	linux clock CLOUD clock
	wait_line clock "guest: clock [0-9]+.$"
	saved clock clock.saved
	killed clock
	last=$(uptimes clock | tail -n 1)
	sleep 5 # it is not there
	restored clock-on clock.saved
	wait_line clock-on "guest: clock [0-9]+.$"
	first=$(uptimes clock-on | head -n 1)
	# It may have printed some more between being saved and killed.
	expect "no time has passed" [ "$first" -lt $((last + 400)) ]
	echo >&9
	wait_end clock-on
	expect_status clock-on 0
	expect_line clock-on "guest: clock ends after .*"
	expect_no_line clock-on "guest: .* went back .*"
}

# apart NAME: by how much the guest's time of day is ahead of ours: by $least at least and by $most at most, in
# microseconds. The guest is asked several times, as its answer takes its time.
apart()
{
	local i before after line guest watch
	least=-1000000000000 most=1000000000000
	exec 8< <(exec tail -n +1 -f "$1.out")
	watch=$!
	for ((i = 0; i < 20; i++)); do
		before=${EPOCHREALTIME/[^0-9]/}
		echo >&9
		while IFS= read -r -t 60 line <&8; do
			[[ ! $line =~ ^guest:\ time\ ([0-9]+)\.([0-9]+)\ ([0-9]+) ]] || break
		done
		after=${EPOCHREALTIME/[^0-9]/}
		guest=${BASH_REMATCH[1]}${BASH_REMATCH[2]}
		expect "its uptime does not go back" [ "${BASH_REMATCH[3]}" -ge "$up" ]
		up=${BASH_REMATCH[3]}
		[ $((guest - after)) -lt $least ] || least=$((guest - after))
		[ $((guest - before)) -gt $most ] || most=$((guest - before))
	done
	exec 8<&-
	kill "$watch"
	echo "guest $1: its time of day is ahead by $least to $most us" | tee -a "$1.err"
}

# behind NAME: by how much the time of day that its kernel was told is behind ours, in nanoseconds
behind() { timeout 60 lkvm debug "$1" --clock --json | jq .behind_ns; }

# Linux itself takes the time of day from the real-time clock as it boots, so it is as right as a half second, and
# what it is ahead by then is what it has to be ahead by later.
test_host()
{
	local up=0 up0 saved_at least0 most0 ns
	linux host CLOUD times,poweroff
	wait_line host "guest: tells the time"
	apart host
	least0=$least most0=$most up0=$up
	saved host host.saved
	saved_at=${EPOCHREALTIME%[^0-9]*}
	killed host
	sleep 20 # it is not there
	restored host-on host.saved --clock host
	apart host-on
	expect "ahead by $least to $most us, and was by $least0 to $most0" [ "$least" -le $((most0 + 10000)) ]
	expect "ahead by $least to $most us, and was by $least0 to $most0" [ "$most" -ge $((least0 - 10000)) ]
	expect "the time has passed" [ "$up" -ge $((up0 + 2000)) ]
	ns=$(behind host-on)
	expect "kvm-clock is behind by $ns ns" [ "${ns#-}" -le 10000000 ]
	echo end >&9
	wait_end host-on
	expect_status host-on 0
	up=$up0
	restored host-late host.saved
	apart host-late
	expect "it is late" [ "$most" -le -20000000 ]
	expect "no time has passed" [ "$up" -lt $((up0 + (${EPOCHREALTIME%[^0-9]*} - saved_at - 20) * 100)) ]
	echo end >&9
	wait_end host-late
	expect_status host-late 0
	echo "kvm-clock is behind by $ns ns" >>host-on.err
}

# A processor that rests is no concern of the watchdog's.
test_watchdog()
{
	local i
	start watchdog -k "$RT" -i "$FILES/rt" -c 1 -m 128 \
		-p "watchdog_thresh=2 rcupdate.rcu_cpu_stall_timeout=3 lkvm.test=times:busy,poweroff"
	exec 9>watchdog.in
	wait_line watchdog "guest: tells the time"
	expect "paused" lkvm pause watchdog
	sleep 20
	expect "resumed" lkvm resume watchdog
	for ((i = 0; i < 5; i++)); do
		sleep 1
		echo >&9
	done
	echo end >&9
	wait_end watchdog
	expect_status watchdog 0
	expect_line watchdog "guest: time .*"
	expect_no_line watchdog ".*(soft lockup|self-detected stall|detected stalls|blocked for more).*"
}

# drawn NAME: what its word "copy" has printed
drawn() { tr -d '\r' <"$1.out" | sed -n 's/^guest: random //p'; }

test_random()
{
	local i
	linux random BACKPORT copy,poweroff
	wait_line random "guest: waits until it is a copy"
	saved random random.saved
	killed random
	expect_no_line random "guest: random .*"
	for i in 1 2; do
		restored "random-$i" random.saved
		wait_end "random-$i"
		expect_status "random-$i" 0
		expect_line "random-$i" "guest: random [0-9a-f]{32}"
		expect_line "random-$i" "guest: told 1"
	done
	expect "others in each" [ "$(drawn random-1)" != "$(drawn random-2)" ]
}

test_button()
{
	linux button CLOUD button,poweroff
	wait_line button "guest: waiting for the power button"
	saved button button.saved
	killed button
	restored button-on button.saved
	wait_until "guest button-on" is_up button-on
	expect "its power button" timeout 120 lkvm stop --graceful 100 button-on
	wait_end button-on
	expect_status button-on 0
	expect_line button-on "guest: power button"
}

# wrote NAME: how many lines it has written by now
wrote() { tr -d '\r' <"$1.out" | sed -n 's/^guest: wrote \([0-9]*\)$/\1/p' | tail -n 1; }
has_written() { ended "$1" || [ "$(wrote "$1")" -ge "$2" ] 2>/dev/null; }
wait_written() { wait_until "line $2 of guest $1" has_written "$1" "$2"; }

# lines FILE: it has these, and nothing else
lines()
{
	expect "lines 1, 2, 3, ... in $1" cmp "$1" <(seq -f 'line %.0f' "$(wc -l <"$1")")
	expect "many in $1" [ "$(wc -l <"$1")" -gt 5 ]
}

# replace FILE: by another one
replace()
{
	echo "new" >"$1.new"
	mv "$1.new" "$1"
}

test_folders()
{
	local count
	mkdir -p fs/many 9p
	seq -f "fs/many/a-file-with-a-rather-long-name-so-that-not-all-go-into-one-reply-%04.0f" 4000 | xargs touch
	for file in {fs,9p}/{replaced,kept}; do
		echo "old" >"$file"
	done
	linux folders RT folders --fs fs,fs --9p 9p,9p
	wait_written folders 3
	saved folders folders.saved
	count=$(wrote folders)
	wait_written folders $((count + 2))
	killed folders
	replace fs/replaced
	replace 9p/replaced
	restored folders-on folders.saved
	wait_written folders-on $((count + 2))
	expect "a copy" timeout 60 lkvm fork folders-on --prefix folders-copy
	echo | timeout 120 lkvm console --lines 1000 folders-copy-1 >folders-copy.out
	expect_line folders-copy "guest: folders end"
	wait_written folders-on $(($(wrote folders-on) + 2))
	echo >&9
	wait_end folders-on
	expect_status folders-on 0
	for name in folders-on folders-copy; do
		expect_line "$name" "guest: listed 4000 of 4000"
		for folder in fs 9p; do
			expect_line "$name" "guest: /$folder/replaced is .*Stale file handle"
			expect_line "$name" "guest: /$folder/kept is old"
			expect_line "$name" "guest: /$folder/replaced by its name is new"
		done
	done
	lines fs/lines
	lines 9p/lines
}

run_tests "$@"
