#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/memory.sh, where KVM can run Linux: memory that a guest gives back and takes again.
# guest-memory says what the words of lkvm.test= do.

tests="
inflate    the balloon to half of a guest's memory and back, while it uses it
oom        a program that needs what is in the balloon gets it
report     free memory leaves lkvm by itself
mmio       the balloon over MMIO, packed rings (Debian 6.12 cloud)
off        --no-balloon
mem        memory plugged into a guest and taken away again, while it uses it
saved      a guest with such memory is saved while it uses it, goes on elsewhere, and gives it back
hint       what a guest has just freed is left out of a snapshot with --hint, and nothing else
"
long_tests="
fleet      20 idle guests use little more than what each has touched
"

. ./job.sh

# Of memory that comes and goes on a machine that is emulated and busy
per_guest=900

# begin NAME KERNEL WORDS OPTION...: a guest that reads lines from descriptor 9
begin()
{
	local name=$1 kernel=$2 words=$3
	shift 3
	start "$name" -k "$kernel" -i initrd -i "$kernel-modules" -c 1 -p "quiet lkvm.test=$words,poweroff" "$@"
	exec 9>"$name.in"
}

# resident NAME: how many MB of the guest's RAM the host holds
resident()
{
	lkvm stat "$1" | sed -n 's/^RAM: .*, of which \([0-9]*\)[.0-9]*MB resident$/\1/p'
}

has_at_most() { [ "$(resident "$1")" -le "$2" ]; }
has_at_least() { [ "$(resident "$1")" -ge "$2" ]; }

# expect_balloon NAME SIZE TEXT
expect_balloon()
{
	expect "balloon of $1 to $2" lkvm balloon --timeout 120 "$1" "$2" >"$1.balloon" 2>&1
	expect "what it has then: $(cat "$1.balloon")" [ "$(cat "$1.balloon")" = "$3" ]
}

test_inflate()
{
	begin inflate cloud use:20 -m 256
	wait_line inflate "guest: used 2" || return
	lkvm stat inflate >stat.inflate
	expect "statistics" grep -qE '^  total_bytes +[12][0-9.]*MB$' stat.inflate
	expect "statistics" grep -qE '^  minor_faults +[0-9]+$' stat.inflate
	expect_balloon inflate 128M "128MB of 256MB"
	expect "half of it is gone" has_at_most inflate 140
	expect_balloon inflate +32M "160MB of 256MB"
	expect_balloon inflate max "256MB of 256MB"
	n=$(lines inflate)
	wait_until "more of guest inflate" more_lines_than inflate $((n + 2))
	echo >&9
	wait_end inflate
	expect_status inflate 0
	expect_line inflate "guest: use ends"
	expect_no_line inflate "guest: the .*"
}

test_oom()
{
	begin oom cloud enter,hog:130 -m 256
	wait_line oom "guest: waits" || return
	expect_balloon oom 110M "110MB of 256MB"
	echo >&9
	wait_end oom
	expect_status oom 0
	expect_line oom "guest: hog $((130 << 20))"
	expect_no_line oom "guest: Out of memory.*"
}

test_report()
{
	begin report cloud fill:100,enter -m 256
	wait_line report "guest: filled" || return
	expect "what was filled is there" has_at_least report 100
	wait_until "less memory of guest report" has_at_most report 90
	expect "it is told" grep -qE '^balloon:  0MB; [1-9][0-9]+MB of free memory were given back$' <<-END
		$(lkvm stat report)
	END
	echo >&9
	wait_end report
	expect_status report 0
}

test_mmio()
{
	begin mmio backport use:10 -m 256 --virtio-transport mmio --balloon=packed
	wait_line mmio "guest: used 1" || return
	expect_balloon mmio 200M "200MB of 256MB"
	expect_balloon mmio max "256MB of 256MB"
	echo >&9
	wait_end mmio
	expect_status mmio 0
	expect_no_line mmio "guest: the .*"
}

test_off()
{
	begin off cloud devices,enter -m 128 --no-balloon
	wait_line off "guest: waits" || return
	lkvm balloon off >off.balloon 2>&1
	expect "none is told" grep -qx "lkvm: guest 'off' has no balloon: it was started with --no-balloon" off.balloon
	echo >&9
	wait_end off
	expect_status off 0
	expect_no_line off "guest: virtio 0x0005 .*"
}

# expect_mem NAME SIZE TEXT
expect_mem()
{
	expect "memory of $1 to $2" lkvm mem --timeout 120 "$1" "$2" >"$1.mem" 2>&1
	expect "what it has then: $(cat "$1.mem")" [ "$(cat "$1.mem")" = "$3" ]
}

test_mem()
{
	begin mem cloud use:30,hog:230,use:30 -m 192 --mem-max 512M
	wait_line mem "guest: used 2" || return
	expect_mem mem 448M "448MB of 512MB"
	lkvm stat mem >stat.mem
	expect "it is told" grep -qx 'plugged:  256MB, of 320MB' stat.mem
	expect "Linux has it" grep -qE '^  total_bytes +4[0-9][0-9][0-9.]*MB$' stat.mem
	echo >&9
	# More than it was started with
	wait_line mem "guest: hog $((230 << 20))" || return
	n=$(lines mem)
	wait_until "more of guest mem" more_lines_than mem $((n + 2))
	expect_mem mem 192M "192MB of 512MB"
	expect "it is gone" has_at_most mem 192
	n=$(lines mem)
	wait_until "more of guest mem" more_lines_than mem $((n + 2))
	echo >&9
	wait_end mem
	expect_status mem 0
	expect_line mem "guest: use ends"
	expect_no_line mem "guest: (the|Out) .*"
}

test_saved()
{
	local n
	begin saved cloud use:30 -m 192 --mem-max 512M
	wait_line saved "guest: used 2" || return
	expect_mem saved 448M "448MB of 512MB"
	n=$(lines saved)
	wait_until "more of guest saved" more_lines_than saved $((n + 2))
	expect "it is saved" lkvm snapshot --stop saved saved.dir
	wait_end saved
	expect_no_line saved "guest: the .*"
	start saved-on --restore saved.dir
	exec 9>saved-on.in
	wait_line saved-on "guest: used [0-9]" || return
	expect "what it has" [ "$(lkvm mem saved-on)" = "448MB of 512MB" ]
	expect "a dump of it" lkvm dump saved-on saved.elf
	expect "all of it" [ "$(stat -c %s saved.elf)" -gt $(((192 + 256) << 20)) ]
	rm saved.elf
	expect_mem saved-on 192M "192MB of 512MB"
	n=$(lines saved-on)
	wait_until "more of guest saved-on" more_lines_than saved-on $((n + 2))
	expect_mem saved-on max "512MB of 512MB"
	echo >&9
	wait_end saved-on
	expect_status saved-on 0
	expect_line saved-on "guest: use ends"
	expect_no_line saved-on "guest: the .*"
}

# saved_mb NAME OPTION...: how many MB of RAM a snapshot of it has
saved_mb()
{
	local name=$1
	shift
	rm -rf "$name.dir"
	lkvm snapshot "$@" "$name" "$name.dir" >"$name.saved" 2>&1 || complain "it is not saved: $(cat "$name.saved")"
	echo $(($(stat -c %b "$name.dir/ram") / 2048))
}

# saved_with_hints NAME PARAMETER: a guest that has freed 100 MB is saved without and with hints; the copy, and it itself,
# go on as if nothing had been. $without and $with are the MB that were saved.
saved_with_hints()
{
	local name=$1 n
	begin "$name" cloud unreported,fill:100,enter,fill:100,enter,use:20 -m 256 -p "$2"
	wait_line "$name" "guest: waits" || return
	without=$(saved_mb "$name")
	mv "$name.saved" "$name.saved-without"
	n=$(lines "$name")
	echo >&9
	wait_until "more of guest $name" more_lines_than "$name" $((n + 2)) || return
	with=$(saved_mb "$name" --hint)
	for n in "$name.saved-without" "$name.saved"; do
		echo "# $2: $(sed 's/^.*: \([0-9]*MB of RAM\)/\1/' "$n")"
	done >>hint.figures
	expect "it is asked: $(cat "$name.saved")" grep -qE 'MB of RAM \([0-9]+MB were free\); it stood' "$name.saved"
	for n in "$name" "$name-on"; do
		[ "$n" = "$name" ] || start "$n" --restore "$name.dir"
		exec 9>"$n.in"
		echo >&9
		wait_line "$n" "guest: used 3" || return
		echo >&9
		wait_end "$n"
		expect_status "$n" 0
		expect_line "$n" "guest: use ends"
		expect_no_line "$n" "guest: (the|Out) .*"
	done
}

test_hint()
{
	saved_with_hints hint init_on_alloc=0 || return
	expect "what was freed is left out: $with MB of $without" [ $((without - with)) -ge 60 ]
	# All that it hints it has written zeros to, in an emulated host as far as it comes in half a second.
	saved_with_hints hint-zeroed init_on_alloc=1
}

# used NAME: MB that its kernel says are neither free nor the kernel's own image
used()
{
	lkvm stat "$1" | awk '$1 == "total_bytes" { total = $2 + 0 } $1 == "free_bytes" { free = $2 + 0 }
		END { print int(total - free) }'
}

test_fleet()
{
	local i sum=0 all=0
	per_guest=3000 # the first ones are there as long as the last one takes to come
	for i in $(seq 20); do
		mkfifo "fleet$i.in"
		run "fleet$i" -k cloud -i initrd -i cloud-modules -c 1 -m 256 \
			-p "quiet lkvm.test=fill:100,enter,poweroff" <>"fleet$i.in" &
		wait_line "fleet$i" "guest: filled" || return
	done
	for i in $(seq 20); do
		wait_line "fleet$i" "guest: waits"
	done
	wait_until "the last one to shrink" has_at_most fleet20 100
	for i in $(seq 20); do
		n=$(resident "fleet$i")
		sum=$((sum + n)) all=$((all + 256))
		echo "# guest $i: $n MB resident, $(used "fleet$i") MB used by the guest"
	done >fleet.figures
	cat fleet.figures
	for i in $(seq 20); do
		expect "guest $i is small: $(resident "fleet$i") MB" has_at_most "fleet$i" 100
		lkvm stop "fleet$i"
	done
	for i in $(seq 20); do
		wait_end "fleet$i"
	done
}

case " $* " in
*" fleet "*) tests=$long_tests ;;
esac
run_tests "$@"
[ ! -s fleet.figures ] || cat fleet.figures
[ ! -s hint.figures ] || cat hint.figures
