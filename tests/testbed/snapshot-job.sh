#!/usr/bin/env bash
# The tests of tests/testbed/snapshot.sh, where KVM can run Linux; $CLOUD, $RT and $BACKPORT are kernels of
# Debian, $FILES has an initrd for each. guest-snapshot says what the words of lkvm.test= do.
tests="
disk       the page cache of a guest that goes on agrees with its disk; killed, restored, restored again
packed     the same with packed rings and two CPUs
mmio       the same over MMIO, with Linux 6.12
rt         the same with PREEMPT_RT
boot       saved in early boot, and as it loads modules
clock      the guest's clocks do not go back, and do not count the time that it was not there
random     each copy knows that it is one, and has random numbers of its own
button     the power button of a guest that goes on
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

run_tests "$@"
