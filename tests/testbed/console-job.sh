#!/bin/busybox sh
# shellcheck shell=dash disable=SC3045 # busybox: read has -t
# The tests of tests/testbed/console.sh, where KVM can run Linux: Linux's driver on our virtio console.
# guest-console says what the words of lkvm.test= do. Debian has the driver as a module: the first
# serial port prints until init has loaded it.

tests="
pci        hvc0 on PCI: output, input from a pipe, a second port both ways, unbind and bind
+mmio      hvc0 on MMIO: the same
+terminal  hvc0 of one port on a terminal that changes its size
ports      hvc0 of two ports on a terminal that changes its size
panic      a panic that hvc0 prints is status 120
+suspended the reader of hvc0 is suspended: the guest runs on, and he misses nothing
serial     the same of ttyS0
"

. ./job.sh

hvc="-k kernel -i initrd -i modules -m 256 --console virtio"

# begin NAME WORDS OPTION...: in the background, with a pipe as its standard input
begin()
{
	local name=$1 words=$2
	shift 2
	# shellcheck disable=SC2086
	start "$name" $hvc -c 2 -p "lkvm.test=$words,poweroff" "$@"
	exec 9>"$name.in"
}

named_or_ended() { ended "$1" || grep -q "the guest's $2 is " "$1.err" 2>/dev/null; }

# open_terminal NAME TTY: that of the guest's second port, as fd 8
open_terminal()
{
	local path
	wait_until "the name of $2" named_or_ended "$1" "$2"
	path=$(sed -n "s/^lkvm: the guest's $2 is //p" "$1.err")
	expect "the name of $2" [ -c "$path" ]
	[ ! -c "$path" ] || exec 8<>"$path"
}

# The user of that terminal is asked, and answers.
asked()
{
	read -r -t $per_guest question <&8
	expect "the guest's question" [ "$question" = "which line?" ]
}

answer()
{
	echo "a line from the host" >&8
	read -r -t $per_guest reply <&8
	expect "the guest's reply" [ "$reply" = "this line: a line from the host" ]
	exec 8>&-
}

# talk NAME OPTION...
talk()
{
	local name=$1
	shift
	# All of it is there before the guest has a driver.
	begin "$name" consoles,input,answer:hvc1,free,input --tty 1 "$@"
	printf 'the first line\n' >&9
	wait_line "$name" "guest: asks on hvc1"
	open_terminal "$name" hvc1
	asked
	answer
	wait_line "$name" "guest: console again"
	printf 'the second line\n' >&9
	wait_end "$name"
	expect_status "$name" 0
	expect_line "$name" ".*Linux version .*"
	expect_line "$name" "guest: console hvc0"
	expect_line "$name" "guest: port vport[0-9]p0 lkvm\.tty0"
	expect_line "$name" "guest: port vport[0-9]p1 lkvm\.tty1"
	expect_line "$name" "guest: read <the first line>"
	expect_line "$name" "guest: answered <a line from the host>"
	expect_line "$name" "guest: read <the second line>"
	expect "each message once" [ "$(grep -c 'Linux version' "$name.out")" -eq 1 ]
}

test_pci() { talk pci; }
test_mmio() { talk mmio --virtio-transport mmio; }

# resize NAME OPTION...
resize()
{
	local name=$1
	shift
	# shellcheck disable=SC2086
	PTY_SECONDS=$per_guest timeout -k 10 "$per_guest" ./pty expect "guest: size 31 101" size 133x37 \
		expect "guest: size 37 133" -- \
		sh -c 'stty cols 101 rows 31 && exec lkvm run "$@"' - --name "$name" $hvc -c 1 \
		-p "quiet lkvm.test=size,poweroff" "$@" >"$name.out" 2>"$name.err"
	echo $? >"$name.status"
	expect_status "$name" 0
}

test_terminal() { resize terminal; }
test_ports() { resize ports --tty 1; }

test_panic()
{
	# shellcheck disable=SC2086
	run panic $hvc -c 1 -p "quiet lkvm.test=consoles,panic" </dev/null
	expect_status panic 120
	expect_line panic "guest: console hvc0"
	expect "the panic's line" grep -q "lkvm: .*Kernel panic - not syncing: sysrq triggered crash" panic.err
}

# unread NAME LINES TTY OPTION...: the guest prints so many lines and asks on its second port, TTY;
# whoever reads its console, into NAME.out, is suspended until then. A pipe keeps 64 KB, which are many
# interrupts for an emulated host: it is almost full before the guest begins. No word of the kernel may
# come between the lines (loglevel).
unread()
{
	local name=$1 lines=$2 tty=$3
	shift 3
	mkfifo "$name.pipe"
	exec 7<>"$name.pipe"
	yes '' | head -c 61440 >&7
	sh -c 'kill -STOP $$; exec cat' <"$name.pipe" >"$name.out" 7>&- &
	reader=$!
	{
		timeout -k 10 "$per_guest" lkvm run --name "$name" -k kernel -i initrd -m 256 -c 2 --tty 1 \
			-p "loglevel=1 lkvm.test=flood:$lines,answer:$tty,poweroff" "$@" \
			</dev/null >&7 2>"$name.err"
		echo $? >"$name.status"
	} &
	exec 7>&-
	open_terminal "$name" "$tty"
	asked
	expect "nothing was read" [ ! -s "$name.out" ]
	kill -CONT "$reader"
	answer
	wait "$reader"
	expect_status "$name" 0
	expect_flood "$name" "$lines"
	expect_line "$name" "guest: asks on $tty"
	expect_line "$name" "guest: answered <a line from the host>"
}

# expect_flood NAME LINES: all that word_flood prints, in order
expect_flood()
{
	tr -d '\r' <"$1.out" | sed -n 's/^flood [0-9]* 0*//p' >"$1.came"
	seq "$2" >"$1.sent"
	expect "all lines" cmp "$1.came" "$1.sent"
}

test_suspended() { unread suspended 500 hvc1 --console virtio -i modules; }
test_serial() { unread serial 150 ttyS1; }

run_tests "$@"
