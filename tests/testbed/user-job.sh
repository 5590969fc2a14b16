#!/usr/bin/env bash
# The tests of tests/testbed/user.sh, where KVM can run Linux. They have a network of their own, with nothing but its
# loopback, whose name server they are: what leaves a guest ends there. No process of theirs outlives them. $CLOUD is
# a kernel of Debian.
tests="
command    a command finds its network: addresses, routes, names, ping, TCP both ways by IPv4 and IPv6, DHCP; as an ordinary user
forwards   any free port, lkvm list, TCP both ways and UDP through it, a port that is taken, kill -9
+restrict  no way out but the forwards
again      a warm start, and copies of a guest with a forward: each has another port, connections are reset
+many      guests side by side, each with a forward to the same port
"

if [ -z "${USER_JOB-}" ]; then
	flags=-nm
	[ "$(id -u)" = 0 ] || flags=-rnm
	USER_JOB=$(id -u) exec unshare $flags --pid --fork --kill-child --mount-proc bash "$0" "$@"
fi
# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"
# shellcheck source=tests/testbed/session-host.sh
. "$here/session-host.sh"
# shellcheck source=tests/testbed/session-warm.sh
. "$here/session-warm.sh"
# shellcheck source=tests/testbed/session-net.sh
. "$here/session-net.sh"
busybox ip link set lo up
busybox ip addr add 198.51.100.1/32 dev lo
echo 'nameserver 127.0.0.1' >resolv.conf
mount --bind resolv.conf /etc/resolv.conf
GUESTS=${GUESTS:-4}

# All names that end in .test are 192.0.2.7, and have no address of IPv6.
name_server()
{
	perl -MSocket -e '
		socket(S, PF_INET, SOCK_DGRAM, 0) && bind(S, sockaddr_in(53, INADDR_LOOPBACK)) || die "bind: $!";
		open(PID, ">", "names.pid") && print(PID $$) && close(PID);
		while (defined(my $from = recv(S, my $ask, 512, 0))) {
			my ($id, $question) = unpack("a2 x10 a*", $ask);
			my ($name) = unpack("Z*", $question);
			my $is_a = substr($question, length($name) + 1, 2) eq "\0\1";
			my $known = $name =~ /\x04test$/;
			my $answer = $known && $is_a ? "\xc0\x0c" . pack("n n N n C4", 1, 1, 60, 4, 192, 0, 2, 7) : "";
			send(S, $id . pack("n n n n n", $known ? 0x8580 : 0x8583, 1, $answer ? 1 : 0, 0, 0) .
				substr($question, 0, length($name) + 5) . $answer, 0, $from);
		}'
}

test_command()
{
	local sum boot=(-c 1 -m 256 -n)
	serve 5001
	head -c 4000000 /dev/urandom >file
	sum=$(sha256sum <file)
	{
		functions
		cat <<-'END'
			busybox ip -o addr show dev eth0
			busybox ip route
			busybox ip -6 route
			cat /etc/resolv.conf
			busybox ping -c 1 -W 20 10.0.2.2 >/dev/null && echo ping
			busybox ping6 -c 1 -W 20 fec0::2 >/dev/null && echo ping6
			getent ahostsv4 host.test | head -n 1
			getent hosts host.example || echo no such name
			tcp 10.0.2.2 5001 <file | sha256sum
			tcp fec0::2 5001 <file | sha256sum
			tcp 198.51.100.1 5001 <file | sha256sum
			udp 10.0.2.2 5001
			busybox udhcpc -i eth0 -n -q -f -s /bin/true 2>&1 | grep 'lease of'
			tcp 10.0.2.2 5002 </dev/null 2>&1
		END
	} >command.sh
	if [ "$USER_JOB" = 0 ]; then
		chmod 755 "$work"
		mkdir -p user/kernel user/dev
		cp "$LKVM" user/lkvm
		as_user command timeout "$per_guest" "$work/user/lkvm" run -k "$work/user/kernel/boot/${CLOUD##*/}" "${boot[@]}" -- bash command.sh
	else
		run command -k "$CLOUD" "${boot[@]}" -- bash command.sh </dev/null
	fi
	expect "addresses" grep -q 'inet 10.0.2.15/24 ' command.out
	expect "addresses" grep -q 'inet6 fec0::15/64 ' command.out
	expect "a route" grep -qx 'default via 10.0.2.2 dev eth0 *' command.out
	expect "a route of IPv6" grep -q '^default via fec0::2 dev eth0 ' command.out
	expect "a name server" grep -qx 'nameserver 10.0.2.3' command.out
	expect "it is the only one" [ "$(grep -c nameserver command.out)" = 1 ]
	expect "ping" grep -qx ping command.out
	expect "ping of IPv6" grep -qx ping6 command.out
	expect "a name" grep -q '^192.0.2.7 ' command.out
	expect "no name" grep -qx 'no such name' command.out
	expect "three times what was sent" [ "$(grep -cxF "$sum" command.out)" = 3 ]
	expect "UDP" grep -qx packet command.out
	expect "DHCP" grep -q 'lease of 10.0.2.15 obtained from 10.0.2.2' command.out
	expect "refused" grep -qx 'connect: Connection refused' command.out
	expect_empty command.err
}

# port NAME [N]: of the host, that leads to the guest; the N-th
port() { lkvm list --json "$1" | jq ".[].forwards[${2:-0}].host_port"; }

# serves NAME: its server is there, soon
serves()
{
	local name=$1
	wait_until "the server of guest $name" in_guest "$name" test -s /run/ready
}

test_forwards()
{
	local sum tcp_port udp_port pid
	{
		functions
		echo 'echo_server 7000 >/run/ready'
	} >forwards.sh
	head -c 2000000 /dev/urandom >file2
	sum=$(sha256sum <file2)
	detached forwards -P 0:7000 -n user,hostfwd=udp::0-:7000 -- bash forwards.sh
	serves forwards
	udp_port=$(port forwards 0) tcp_port=$(port forwards 1)
	expect "TCP" [ "$(tcp 127.0.0.1 "$tcp_port" <file2 | sha256sum)" = "$sum" ]
	expect "UDP" [ "$(udp 127.0.0.1 "$udp_port")" = packet ]
	lkvm list forwards >forwards.list
	expect "lkvm list" grep -qx "  tcp 127.0.0.1:$tcp_port to 10.0.2.15:7000" forwards.list
	expect "lkvm list" grep -qx "  udp 127.0.0.1:$udp_port to 10.0.2.15:7000" forwards.list
	expect "only this host's programs" sh -c "! busybox nc -w 5 198.51.100.1 $tcp_port </dev/null"
	run forwards-taken -k "$CLOUD" -P "$tcp_port:22" -- true
	expect_status forwards-taken 125
	expect_text forwards-taken.err "lkvm: net0: hostfwd: cannot listen on 127.0.0.1:$tcp_port: Address already in use"
	pid=$(lkvm list --json forwards | jq '.[].pid')
	kill -KILL "$pid"
	expect "no process" all_gone "$pid"
	expect "its port is free" sh -c "! busybox nc -w 5 127.0.0.1 $tcp_port </dev/null"
	expect "its socket goes" [ -z "$(lkvm list --quiet forwards 2>/dev/null)" ]
}

test_restrict()
{
	{
		functions
		echo 'echo_server 7000 >/run/ready'
	} >restrict.sh
	{
		functions
		cat <<-'END'
			cat /etc/resolv.conf
			busybox ping -c 1 -W 20 10.0.2.2 >/dev/null && echo ping
			tcp 10.0.2.2 5003 </dev/null 2>&1
			tcp 198.51.100.1 5003 </dev/null 2>&1
			getent hosts host.test || echo no such name
		END
	} >look.sh
	serve 5003
	detached restrict -n user,restrict -P 0:7000 -- bash restrict.sh
	serves restrict
	expect "a forward" [ "$(echo through | tcp 127.0.0.1 "$(port restrict)")" = through ]
	try restrict-look 0 lkvm exec restrict -- bash look.sh </dev/null
	expect_text restrict-look.out $'# of lkvm\'s networks\nping\nconnect: Connection refused\nconnect: Connection refused\nno such name'
	lkvm stop restrict >/dev/null
}

test_again()
{
	local i name ports=()
	export XDG_CACHE_HOME=$PWD/again-cache
	{
		functions
		echo 'echo again | tcp 10.0.2.2 5004'
		echo 'getent ahostsv4 host.test | head -n 1'
	} >again.sh
	serve 5004
	for i in 1 2; do
		with_result again-$i -n -- bash again.sh
		expect_status again-$i 0
		expect "through the network" grep -qx again again-$i.out
	done
	started again-2 warm
	{
		functions
		echo 'echo_server 7000 >/run/ready'
	} >copies.sh
	detached copies -n -P 0:7000 -- bash copies.sh
	serves copies
	exec 7<>/dev/tcp/127.0.0.1/"$(port copies)"
	echo before >&7
	expect "a connection" [ "$(timeout 60 head -n 1 <&7)" = before ]
	lkvm fork copies --count 2 >names 2>copies.fork
	expect "it is copied" [ $? = 0 ]
	echo after >&7
	expect "its own connection goes on" [ "$(timeout 60 head -n 1 <&7)" = after ]
	exec 7>&-
	while read -r name; do
		ports+=("$(port "$name")")
		expect "guest $name" [ "$(echo "I am $name" | tcp 127.0.0.1 "$(port "$name")")" = "I am $name" ]
	done < <(echo copies; cat names)
	expect "ports of their own: ${ports[*]}" [ "$(printf '%s\n' "${ports[@]}" | sort -u | wc -l)" = 3 ]
	xargs -a names lkvm stop copies >/dev/null
}

test_many()
{
	local i pids=()
	{
		functions
		# shellcheck disable=SC2016
		echo 'echo_server 22 >/run/ready'
	} >many.sh
	for ((i = 0; i < GUESTS; i++)); do
		detached many-$i -n -P 0:22 -- bash many.sh &
		pids+=($!)
	done
	wait "${pids[@]}"
	for ((i = 0; i < GUESTS; i++)); do
		serves many-$i
		expect "guest $i" [ "$(echo "I am $i" | tcp 127.0.0.1 "$(port many-$i)")" = "I am $i" ]
	done
	expect "as many ports" [ "$(lkvm list --json 'many-*' | jq '.[].forwards[0].host_port' | sort -u | wc -l)" = "$GUESTS" ]
	lkvm stop 'many-*' >/dev/null
}

(name_server &)
for ((i = 0; i < 100; i++)); do
	[ -s names.pid ] || sleep 0.1
done
run_tests "$@"
