#!/usr/bin/env bash
# The tests of tests/testbed/net-selftests.sh, where KVM can run Linux. They have a network of their own. $GENERIC is a
# kernel of Debian, $SELFTESTS what net-selftests-build.sh has built. A test of the kernel's that fails in the guest is
# run on this host too, where no device of lkvm's is: if it fails there as well, that is said, and it is no failure.
tests="
sockets    sockets, packet sockets, GSO, TLS, time stamps: within namespaces of a guest
links      rtnetlink, tunnels, bridges, GRO: likewise
device     netdevice.sh on the guest's own interface
tap        msg_zerocopy and udpgso_bench, between guest and host, each as sender and as receiver, over IPv4 and IPv6
rss        frames go where ethtool -X says, by the hash of what ethtool -N chooses, over IPv4 and IPv6
vsock      vsock_test and vsock_diag_test, the host's end as client and as server, and both ends in a guest
"

optmem=1000000 # bytes that msg_zerocopy.sh wants; the host's is not to be seen in a network of its own
if [ -z "${NET_JOB-}" ]; then
	echo $optmem >/proc/sys/net/core/optmem_max
	NET_JOB=1 exec unshare -nm --pid --fork --kill-child --mount-proc bash "$0" "$@"
fi
# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"
per_guest=2000 # an emulated host is slow
busybox ip link set lo up

# ---- tests of the kernel's, a line each ----

# kernels_own LIST: in the current folder, those of the file; STATUS COMMAND to standard output, what it says to N.log.
# Some take minutes where all is emulated: 124 is their status then.
kernels_own()
{
	local n=0 line
	while read -r line; do
		n=$((n + 1))
		# shellcheck disable=SC2086 # its arguments
		(cd "$SELFTESTS/net" && exec timeout -k 5 "150" ./$line) >$n.log 2>&1 </dev/null
		echo "$? $line"
	done <"$1"
}

# fails_here COMMAND: on this host too?
fails_here()
{
	mkdir here 2>/dev/null
	echo "$1" >here/list
	(cd here && ! kernels_own list | grep -q '^[04] ')
}

# judge NAME: what kernels_own has said in that guest. Status 4 is kselftest's for what cannot be tried.
judge()
{
	local n=0 status line
	expect "all were run" [ "$(wc -l <"$1.out")" = "$(wc -l <"$1.rw/list")" ]
	while read -r status line; do
		n=$((n + 1))
		case $status in
		0) echo "passes: $line" ;;
		4) echo "skips itself: $line: $(grep -i skip "$1.rw/$n.log" | head -n 1)" ;;
		*)
			if fails_here "$line"; then
				echo "fails without lkvm too ($status): $line: $(grep -i 'fail\|error\|not' "$1.rw/$n.log" | head -n 1)"
			else
				complain "$line: status $status: $(tail -n 15 "$1.rw/$n.log")"
			fi
			;;
		esac
	done <"$1.out" >"$1.told"
	expect "some pass" grep -q ^passes "$1.told"
}

# own_tests NAME OPTION...: those on standard input, in a guest
own_tests()
{
	local name=$1
	shift
	mkdir "$name.rw"
	cat >"$name.rw/list"
	{
		declare -p SELFTESTS
		declare -f kernels_own
		echo 'modprobe tun; busybox ip link set eth0 down 2>/dev/null; kernels_own list'
	} >"$name.rw/run"
	run "$name" -k "$GENERIC" -c 1 -m 512 --rw "$work/$name.rw" --cwd "$work/$name.rw" "$@" -- bash run </dev/null
	expect_status "$name" 0
	judge "$name"
}

test_sockets()
{
	own_tests sockets <<-'END'
		run_netsocktests
		run_afpackettests
		psock_snd.sh
		udpgso.sh
		reuseport_bpf
		reuseport_bpf_cpu
		reuseport_dualstack
		reuseport_addr_any.sh
		reuseaddr_conflict
		reuseaddr_ports_exhausted.sh
		stress_reuseport_listen.sh
		sk_bind_sendto_listen
		sk_connect_zero_addr
		so_netns_cookie
		bind_bhash.sh
		tls
		tun
		tap
		tcp_inq
		tcp_fastopen_backup_key.sh
		ipv6_flowlabel.sh
		cmsg_so_mark.sh
		cmsg_time.sh
		cmsg_ipv6.sh
		rxtimestamp.sh
		txtimestamp.sh
	END
}

test_links()
{
	own_tests links <<-'END'
		rtnetlink.sh
		altnames.sh
		test_vxlan_fdb_changelink.sh
		ip6_gre_headroom.sh
		gre_gso.sh
		unicast_extensions.sh
		vrf_strict_mode_test.sh
		test_ingress_egress_chaining.sh
		gro.sh -t data
		gro.sh -t ack
		gro.sh -t tcp
		gro.sh -t ip
		udpgso_bench.sh
	END
}

# ---- over lkvm's device ----

# It takes interfaces up that are down, gives them an address, and asks ethtool. It says all by words.
test_device()
{
	echo netdevice.sh | own_tests device -n tap,ifname=own0
	expect "nothing fails" sh -c '! grep FAIL device.rw/1.log'
	for what in "set interface up" "set MAC address" "ethtool list features" "ethtool stats" "stop interface"; do
		expect "$what" grep -q "PASS: eth0: $what" device.rw/1.log
	done
}

# orders NAME OPTION...: a guest with an OPTION for the tap own-NAME, which does what asks() says
orders()
{
	asked=$1 i=0
	shift
	ip tuntap add "own-$asked" mode tap
	ip addr add 10.79.2.1/24 dev "own-$asked"
	ip addr add fd79:2::1/64 dev "own-$asked" nodad
	ip link set "own-$asked" up
	mkdir "$asked.rw"
	cat >"$asked.rw/run" <<-'END'
		busybox ip link set eth0 up
		busybox ip addr add 10.79.2.2/24 dev eth0
		ip -6 addr add fd79:2::2/64 dev eth0 nodad
		cd "$1/net"
		while read -r i line; do
			timeout 100 $line >"$OLDPWD/$i.log" 2>&1 </dev/null
			echo "$i $?"
		done
	END
	mkfifo "$asked.in"
	run "$asked" -k "$GENERIC" -m 512 --rw "$work/$asked.rw" --cwd "$work/$asked.rw" "$@" -- bash run "$SELFTESTS" <"$asked.in" &
	exec 9>"$asked.in"
}

# asks LINE: the guest does it, number $i; what it says is in $asked.rw/$i.log
asks()
{
	i=$((i + 1))
	echo "$i $1" >&9
	wait_until "number $i, $1" answered "$i"
}

answered() { grep -q "^$1 " "$asked.out"; } # wait_until has an $i of its own

# no_more: and the guest ends
no_more()
{
	exec 9>&-
	wait_end "$asked"
	expect_status "$asked" 0
	ip link del "own-$asked"
}

# host_own COMMAND...: one of the kernel's tests, on the host, in the background; what it says is in host.log
host_own() { (cd "$SELFTESTS/net" && exec timeout 100 "$@") >host.log 2>&1 </dev/null & }

# receives FILE: what was said by who receives: that it got something
receives()
{
	echo "$1: $(grep -m 1 'rx=\|rx:' "$1")" >>tap.told
	grep -Eq 'rx=[1-9][0-9]* |rx: .* [1-9][0-9]* calls' "$1"
}

# between FROM TO COMMAND: COMMAND with these addresses in place of its words FROM and TO
between() { sed "s/FROM/$1/; s/TO/$2/" <<<"$3"; }

# sends_and_receives GUEST HOST RECEIVER SENDER: one way and the other; both are for between()
sends_and_receives()
{
	local receiver sender
	receiver=$(between "$1" "$2" "$3") sender=$(between "$1" "$2" "$4")
	# shellcheck disable=SC2086 # words
	host_own $receiver
	sleep 1 # it says nothing when it listens
	asks "$sender"
	expect "$sender: $(cat "tap.rw/$i.log")" grep -q "^$i 0$" tap.out
	wait $!
	expect "the host receives by $receiver: $(cat host.log)" receives host.log
	receiver=$(between "$2" "$1" "$3") sender=$(between "$2" "$1" "$4")
	i=$((i + 1))
	echo "$i $receiver" >&9
	sleep 3
	# shellcheck disable=SC2086
	host_own $sender
	wait $! || complain "$sender: $(cat host.log)"
	wait_until "number $i, $receiver" answered "$i"
	expect "the guest receives by $receiver: $(cat "tap.rw/$i.log")" receives "tap.rw/$i.log"
}

test_tap()
{
	local asked i how family guest host
	orders tap -c 1 -n tap,ifname=own-tap
	asks "busybox sysctl -w net.core.optmem_max=$optmem"
	while read -r family guest host; do
		# Of datagrams in pieces hardly one gets through a full tap whole.
		for how in tcp "-z tcp" "-s 1200 udp" "-z -s 1200 udp"; do
			sends_and_receives "$guest" "$host" "./msg_zerocopy $family -t 8 -S FROM -D TO -r ${how#-z }" \
				"./msg_zerocopy $family -t 1 -S FROM -D TO $how"
		done
		sends_and_receives "$guest" "$host" "./udpgso_bench_rx ${family#-6} -C 20000 -R 4000" \
			"./udpgso_bench_tx $family -D TO -l 2 -S 1200"
	done <<-'END'
		-4 10.79.2.2 10.79.2.1
		-6 fd79:2::2 fd79:2::1
	END
	no_more
}

key=6d:5a:56:da:25:5b:0e:c2:41:67:25:3d:43:a3:8f:b0:d0:ca:2b:cb:ae:7b:30:b4:77:cb:2d:a3:80:30:f2:0c:6a:42:b7:3b:be:ac:01:fa

counts() { grep -E '^ *rx_queue_[0-9]+_packets' "rss.rw/$1.log" | sed 's/.*: //'; }

# flows ADDRESS FIELDS: all queues get what they are to get; beside that there may be a few frames of ARP and the like
flows()
{
	local before want
	python3 "$here/rss.py" udp "$1" 8000 1 $key "$2" 4 >/dev/null # that finds the way
	sleep 2
	asks "ethtool -S eth0"
	before=$i
	want=$(python3 "$here/rss.py" udp "$1" 9000 64 $key "$2" 4)
	sleep 2
	asks "ethtool -S eth0"
	paste -d ' ' <(counts "$before") <(counts "$i") <(tr ' ' '\n' <<<"$want") >"rss.$i"
	cp "rss.$i" rss.last
	echo "$1 by $2: before, after, expected: $(paste -s -d '|' "rss.$i")" >>rss.told
	expect "$1 by $2: before, after, expected: $(paste -s -d '|' "rss.$i")" \
		awk '{ n++; if ($2 - $1 < $3 || $2 - $1 > $3 + 20) bad = 1 } END { exit bad || n != 4 }' "rss.$i"
}

test_rss()
{
	local asked i words
	orders rss -c 2 -n tap,ifname=own-rss,queues=4,rss
	for words in "ethtool -L eth0 combined 4" "ethtool -X eth0 equal 4 hkey $key" "ethtool -K eth0 rxhash on"; do
		asks "$words"
		expect "$words: $(cat "rss.rw/$i.log")" grep -q "^$i 0$" rss.out
	done
	asks "ethtool -x eth0"
	expect "its key" grep -q "^$key" "rss.rw/$i.log"
	flows 10.79.2.2 sdfn
	flows fd79:2::2 sdfn
	for words in udp4 udp6; do
		asks "ethtool -N eth0 rx-flow-hash $words sd"
		expect "$words by addresses: $(cat "rss.rw/$i.log")" grep -q "^$i 0$" rss.out
	done
	flows 10.79.2.2 sd
	flows fd79:2::2 sd
	asks "ethtool -X eth0 weight 0 0 0 1"
	python3 "$here/rss.py" udp 10.79.2.2 9000 64 $key sdfn 4 >/dev/null
	asks "ethtool -S eth0"
	expect "all by the last queue" [ $(($(counts "$i" | tail -n 1) - $(tail -n 1 rss.last | cut -d ' ' -f 2))) -ge 192 ]
	no_more
}

# ---- vsock ----

# host_end GUEST NAME PROGRAM ARGUMENT...: the host's end of that guest's vsock; what it says goes to NAME.log
host_end()
{
	local guest=$1 name=$2 program=$3 cid
	cid=$(cid_of "$guest")
	shift 3
	VSOCK_CID=$cid VSOCK_PATH=$LKVM_DIR/$guest.vsock LD_PRELOAD=$VSOCK_PRELOAD \
		timeout 300 "$SELFTESTS/vsock/$program" --peer-cid="$cid" "$@" >"$name.log" 2>&1
}

cid_of() { lkvm list --json "$1" | jq '.[0].vsock.cid'; }

# all_ok FILE NUMBER: so many tests of a program are ok, and all that there is to say was said
all_ok()
{
	expect "$1: $(tail -n 5 "$1")" [ "$(grep -c '^[0-9].*\.\.\.ok$' "$1")" = "$2" ]
	expect "$1: to its end" grep -q '^All tests.*\.\.\.ok$' "$1"
}

# The line of control is a TCP connection; the guest's port is forwarded. Tests 6 and 9 of vsock_test want MSG_EOR, and
# ENOMEM where a buffer is none, and 10 SO_RCVLOWAT, of the host's end, which has UNIX sockets that know none of that: 10
# is left to the direction in which the guest's end is judged, as is 8, which wants no more than a quarter of a second for
# a way of the host's kernel; and all are run between two ends in the guest. The last one
# of vsock_diag_test looks for the host's end among the host's AF_VSOCK sockets.
test_vsock()
{
	detached vsock --vsock -n user,hostfwd=tcp::7001-:7001
	host_end vsock server vsock_test --control-port=7000 --mode=server --skip=6 --skip=9 &
	wait_until "the server" grep -qs listening server.log
	try vsock-client 0 lkvm exec vsock -- "$SELFTESTS/vsock/vsock_test" --control-host=10.0.2.2 --control-port=7000 \
		--mode=client --peer-cid=2 </dev/null
	all_ok vsock-client.out 9
	expect "the host's end as server" wait $!
	guest_serves vsock-server vsock_test
	host_end vsock client vsock_test --control-host=127.0.0.1 --control-port=7001 --mode=client \
		--skip=6 --skip=8 --skip=9 --skip=10 || complain "the host's end as client: $(tail -n 5 client.log)"
	expect "the guest's end" wait $!
	all_ok vsock-server.out 7
	lkvm exec vsock -- modprobe vsock_diag </dev/null
	guest_serves vsock-diag vsock_diag_test
	host_end vsock diag vsock_diag_test --control-host=127.0.0.1 --control-port=7001 --mode=client --skip=2 ||
		complain "the host's end of vsock_diag_test: $(tail -n 5 diag.log)"
	expect "the guest's end" wait $!
	all_ok vsock-diag.out 2
	try vsock-loopback 0 lkvm exec vsock -- bash -c "modprobe vsock_loopback; cd $SELFTESTS/vsock
		./vsock_test --control-port=7002 --mode=server --peer-cid=1 >/dev/null 2>&1 & sleep 2
		./vsock_test --control-host=127.0.0.1 --control-port=7002 --mode=client --peer-cid=1" </dev/null
	all_ok vsock-loopback.out 11
	lkvm stop vsock >/dev/null
}

# guest_serves NAME PROGRAM: until the host's end is through with it
guest_serves()
{
	lkvm exec vsock -- "$SELFTESTS/vsock/$2" --control-port=7001 --mode=server --peer-cid=2 </dev/null >"$1.out" 2>&1 &
	wait_until "the guest's server" grep -qs listening "$1.out"
}

# detached NAME OPTION...: until it takes commands
detached()
{
	local name=$1
	shift
	timeout "$per_guest" lkvm run --detach --name "$name" -k "$GENERIC" -c 1 -m 512 "$@" </dev/null >"$name.run" 2>&1
	expect "guest $name starts: $(cat "$name.run")" [ $? = 0 ]
	expect "guest $name is up" booted "$name"
}

run_tests "$@"
sed 's/^/# /' ./*.told 2>/dev/null
