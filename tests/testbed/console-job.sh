#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/console.sh, where KVM can run Linux: Linux's driver on our virtio console.
# guest-console says what the words of lkvm.test= do. Debian has the driver as a module: the first
# serial port prints until init has loaded it.

tests="
pci        hvc0 on PCI: output, input from a pipe, a second port both ways, unbind and bind
mmio       hvc0 on MMIO: the same
terminal   hvc0 of one port on a terminal that changes its size
ports      hvc0 of two ports on a terminal that changes its size
panic      a panic that hvc0 prints is status 120
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

# a user of the pseudo terminal of hvc1
answer()
{
	wait_line "$1" "guest: asks on hvc1"
	exec 8<>"$(sed -n "s/^lkvm: the guest's hvc1 is //p" "$1.err")"
	read -r question <&8
	expect "the guest's question" [ "$question" = "which line?" ]
	echo "a line from the host" >&8
	read -r reply <&8
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
	answer "$name"
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

run_tests "$@"
