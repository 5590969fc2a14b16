#!/bin/busybox sh
# shellcheck shell=dash
# The tests of tests/testbed/net.sh, where KVM can run Linux: Linux's driver on a tap of the host's. guest-net says
# what the words of lkvm.test= do. Each test has its own interface and network.

tests="
tap        ping both ways, 4 MiB by TCP both ways with equal checksums, MTU, what the driver has accepted
+offloads  each offload off and on, 1 MiB both ways with each
+queues    two pairs of queues, packed rings, and one again
+link      the link goes and comes
+mmio      MMIO, large frames by an MTU of 9000
+mtu       the smallest MTU and the largest, over a tap and a switch
switch     two guests on a switch: ping, 1 MiB from one to the other with equal checksums, whole and cut
restore    a guest that is saved, and goes on with its network
vhost      the kernel moves the frames: 4 MiB both ways with equal checksums, the link goes and comes, saved and restored
+vhostmq   vhost with two pairs of queues, over MMIO
+uso       datagrams, many in a frame, both ways, over IPv4 and IPv6 (NET_KERNEL=backport: it takes Linux 6.2 in host and guest)
+rss       frames go to the queues that ethtool -X says, saved and restored too, also as hashes and by packed rings
"

. ./job.sh

# boot NAME WORDS OPTION...: to its end, in the background; standard input comes from fd 9
boot()
{
	local name=$1 words=$2
	shift 2
	start "$name" -k kernel -i initrd -i modules -i programs -m 256 -c 1 -p "quiet lkvm.test=$words" "$@"
	exec 9>"$name.in"
}

exists() { [ -d "/sys/class/net/$1" ]; }

# host_net INTERFACE ADDRESS: the host's end, once it is there
host_net()
{
	wait_until "interface $1" exists "$1"
	ip addr add "$2/24" dev "$1"
	ip link set "$1" up
}

# One connection a port: a listener that still waits for its guest would keep the next one from binding.
listens() { cat /proc/net/tcp /proc/net/tcp6 2>/dev/null | grep -q "$(printf ':%04X [0-9A-F]*:0000 0A' "$1")"; }

# serve_file FILE PORT: to the guest
serve_file()
{
	nc -l -p "$2" <"$1" >/dev/null &
	wait_until "a listener at port $2" listens "$2"
}

# take_file FILE PORT: from the guest
take_file()
{
	[ -p open ] || mkfifo open 2>/dev/null
	nc -l -p "$2" >"$1" 0<>open &
	wait_until "a listener at port $2" listens "$2"
}
sum() { md5sum <"$1" | cut -d ' ' -f 1; }
given() { tr -d '\r' <"$1.out" | sed -n 's/^guest: gives //p' | tail -n 1; }
same() { [ -n "$1" ] && [ "$1" = "$2" ]; }

test_tap()
{
	dd if=/dev/urandom of=tap.file bs=1M count=4 2>/dev/null
	boot tap net:10.77.1.2,features,ping:10.77.1.1,line:fetch,fetch:10.77.1.1:5101,line:give,give:10.77.1.1:5102:4,line:end,poweroff \
		-n tap,ifname=lktap,mac=02:00:00:00:01:02,pcap=tap.pcap
	host_net lktap 10.77.1.1
	serve_file tap.file 5101
	take_file tap.got 5102
	wait_line tap "guest: waits for fetch"
	expect "ping from the host" ping -c 3 -W 10 10.77.1.2
	echo fetch >&9
	wait_line tap "guest: waits for give"
	echo give >&9
	wait_line tap "guest: waits for end"
	lkvm stat tap >tap.stat
	lkvm stat --json tap >tap.json
	echo end >&9
	wait_end tap
	expect_status tap 0
	expect_line tap "guest: eth0 02:00:00:00:01:02 mtu 1500 carrier 1"
	expect_line tap "guest: ping 10.77.1.1 0% lost"
	expect_line tap "guest: fetched $(sum tap.file)"
	expect "what the guest gave" same "$(given tap)" "$(sum tap.got)"
	for feature in tx-checksum-ip-generic tx-tcp-segmentation tx-tcp6-segmentation tx-tcp-ecn-segmentation; do
		expect_line tap "guest: feature $feature on"
	done
	expect "the interface is gone" [ ! -d /sys/class/net/lktap ]
	expect "what has passed" [ "$(od -An -tx4 -N4 tap.pcap)" = " a1b23c4d" ]
	expect "all of it" [ "$(wc -c <tap.pcap)" -gt 8388608 ]
	expect "counters" grep -q "net0: *tap lktap, 02:00:00:00:01:02, link up" tap.stat
	expect "counters as JSON" grep -q '"received_bytes": *[0-9]\{7,\}' tap.json
}

# Segments for the guest, those of the guest, checksums, and all again; what it gives and takes stays the same.
test_offloads()
{
	local words='' round=0 name
	dd if=/dev/urandom of=offloads.file bs=1M count=1 2>/dev/null
	for name in rx-gro-hw:off tso:off tx:off tx:on+sg:on+tso:on+rx-gro-hw:on; do
		round=$((round + 1))
		words="$words,offload:$(echo "$name" | sed 's/+/,offload:/g'),line:fetch"
		words="$words,fetch:10.77.2.1:521$round,give:10.77.2.1:522$round:1"
	done
	round=0
	boot offloads "net:10.77.2.2$words,poweroff" -n tap,ifname=lkoff
	host_net lkoff 10.77.2.1
	while ! ended offloads && [ $round -lt 4 ]; do
		round=$((round + 1))
		serve_file offloads.file 521$round
		take_file offloads.got$round 522$round
		wait_until "round $round" rounds offloads $round
		echo fetch >&9
		wait_until "the end of round $round" fetched offloads $round
	done
	wait_end offloads
	expect_status offloads 0
	expect "all rounds came" [ "$(tr -d '\r' <offloads.out | grep -c "^guest: fetched $(sum offloads.file)")" -eq 4 ]
	round=0
	tr -d '\r' <offloads.out | sed -n 's/^guest: gives //p' >offloads.given
	while read -r given; do
		round=$((round + 1))
		expect "what the guest gave, round $round" same "$given" "$(sum offloads.got$round)"
	done <offloads.given
	expect "all was given" [ $round -eq 4 ]
	for name in "rx-gro-hw off" "tso off" "tx off" "tx on" "tso on" "rx-gro-hw on"; do
		expect_line offloads "guest: $name"
	done
}

rounds() { ended "$1" || [ "$(grep -c "guest: waits for fetch" "$1.out")" -ge "$2" ]; }
fetched() { ended "$1" || [ "$(grep -c "guest: gives" "$1.out")" -ge "$2" ]; }

test_queues()
{
	boot queues net:10.77.3.2,rings,channels:2,ping:10.77.3.1,channels:1,ping:10.77.3.1,channels:2,line:end,poweroff \
		-c 2 -n tap,ifname=lkmq,queues=2,packed
	host_net lkmq 10.77.3.1
	wait_line queues "guest: waits for end"
	expect "ping from the host" ping -c 3 -W 10 10.77.3.2
	echo end >&9
	wait_end queues
	expect_status queues 0
	expect_line queues "guest: virtio[0-9] has a packed ring"
	expect_line queues "guest: channels 2"
	expect_line queues "guest: queue rx-1"
	expect "pings" [ "$(grep -c 'guest: ping 10.77.3.1 0% lost' queues.out)" -eq 2 ]
}

test_link()
{
	boot link net:10.77.4.2,ping:10.77.4.1,carrier:0,carrier:1,ping:10.77.4.1,poweroff -n tap,ifname=lklink
	host_net lklink 10.77.4.1
	wait_line link "guest: waits for carrier 0"
	expect "no such link" sh -c "! lkvm debug link --link net1=down"
	expect "take it away" lkvm debug link --link net0=down
	wait_line link "guest: waits for carrier 1"
	expect "put it back" lkvm debug link --link net0=up
	wait_end link
	expect_status link 0
	expect_line link "guest: carrier 0"
	expect_line link "guest: carrier 1"
	expect "pings" [ "$(grep -c 'guest: ping 10.77.4.1 0% lost' link.out)" -eq 2 ]
}

test_mmio()
{
	boot mmio net:10.77.5.2,ping:10.77.5.1:8900,line:end,poweroff --virtio-transport mmio -n tap,ifname=lkmtu,mtu=9000
	host_net lkmtu 10.77.5.1
	wait_line mmio "guest: waits for end"
	expect "the host's MTU" [ "$(cat /sys/class/net/lkmtu/mtu)" = 9000 ]
	expect "ping from the host" ping -c 3 -W 10 -s 8900 10.77.5.2
	echo end >&9
	wait_end mmio
	expect_status mmio 0
	expect_line mmio "guest: eth0 02:.* mtu 9000 carrier 1"
	expect_line mmio "guest: ping 10.77.5.1 0% lost"
}

# A tap takes 65535 bytes with the Ethernet header.
test_mtu()
{
	local mtu i=0
	for mtu in 1280 65521; do
		i=$((i + 1))
		dd if=/dev/urandom of=mtu.file bs=64k count=16 2>/dev/null
		boot mtu$i "net:10.77.1$i.2,ping:10.77.1$i.1:$((mtu - 28)),line:fetch,fetch:10.77.1$i.1:511$i,give:10.77.1$i.1:512$i:1,poweroff" \
			-n "tap,ifname=lkmtu$i,mtu=$mtu"
		host_net lkmtu$i 10.77.1$i.1
		wait_line mtu$i "guest: waits for fetch"
		serve_file mtu.file 511$i
		take_file mtu.got$i 512$i
		echo fetch >&9
		wait_end mtu$i
		expect_status mtu$i 0
		expect_line mtu$i "guest: eth0 02:.* mtu $mtu carrier 1"
		expect_line mtu$i "guest: ping 10.77.1$i.1 0% lost"
		expect_line mtu$i "guest: fetched $(sum mtu.file)"
		expect "what the guest gave" same "$(given mtu$i)" "$(sum mtu.got$i)"
	done
	run mtu-large -k kernel -m 256 -c 1 -n tap,ifname=lkmtu3,mtu=65535 </dev/null
	expect_status mtu-large 125
	for mtu in 1280 65535; do
		boot mtu-a$mtu "net:10.77.13.1,line:end,poweroff" -n switch=mtu$mtu,mtu=$mtu
		exec 8>&9
		wait_line mtu-a$mtu "guest: waits for end"
		boot mtu-b$mtu "net:10.77.13.2,ping:10.77.13.1:$((mtu - 28)),poweroff" -n switch=mtu$mtu,mtu=$mtu
		wait_end mtu-b$mtu
		echo end >&8
		wait_end mtu-a$mtu
		expect_line mtu-a$mtu "guest: eth0 02:.* mtu $mtu carrier 1"
		expect_line mtu-b$mtu "guest: ping 10.77.13.1 0% lost"
	done
}

# To one who takes what is to be cut, and to one for whom lkvm cuts it
test_switch()
{
	local to=10.77.6.1 from=10.77.6.2
	boot switch-a "net:$to,line:whole,load:$from,offload:rx-gro-hw:off,line:cut,load:$from,line:end,poweroff" -n switch=lan
	exec 8>&9
	boot switch-b "net:$from,line:ping,ping:$to,offer:1,line:end,poweroff" -n switch=lan
	wait_line switch-a "guest: waits for whole"
	wait_line switch-b "guest: waits for ping"
	echo ping >&9
	wait_line switch-b "guest: waits for end"
	before=$(frames switch-a received)
	echo whole >&8
	wait_line switch-a "guest: waits for cut"
	expect "1 MiB, in fewer frames than there are segments" passed switch-a received 16 600
	before=$(frames switch-a received)
	echo cut >&8
	wait_line switch-a "guest: waits for end"
	expect "1 MiB, in segments" passed switch-a received 720 1500
	echo end >&8
	echo end >&9
	wait_end switch-a
	wait_end switch-b
	expect_status switch-a 0
	expect_status switch-b 0
	expect_line switch-b "guest: ping $to 0% lost"
	expect_line switch-a "guest: rx-gro-hw off"
	expect "both times what is given" [ "$(tr -d '\r' <switch-a.out | grep -c "^guest: loaded $(given switch-b)")" -eq 2 ]
	expect "nothing is left" sh -c "! ls $LKVM_DIR/*.switch"
}

test_restore()
{
	boot restore net:10.77.7.2,ping:10.77.7.1,line:again,ping:10.77.7.1,fetch:10.77.7.1:5701,poweroff -n tap,ifname=lkrest
	host_net lkrest 10.77.7.1
	wait_line restore "guest: waits for again"
	expect "save it" lkvm snapshot restore restore.saved
	expect "stop it" lkvm stop restore
	wait_end restore
	start restore-on --restore restore.saved
	exec 9>restore-on.in
	host_net lkrest 10.77.7.1
	dd if=/dev/urandom of=restore.file bs=64k count=1 2>/dev/null
	serve_file restore.file 5701
	echo again >&9
	wait_end restore-on
	expect_status restore-on 0
	expect_line restore "guest: ping 10.77.7.1 0% lost"
	expect_line restore-on "guest: ping 10.77.7.1 0% lost"
	expect_line restore-on "guest: fetched $(sum restore.file)"
}

# While the link is down lkvm has the queues, and then the kernel again; so it is when the guest is saved.
test_vhost()
{
	dd if=/dev/urandom of=vhost.file bs=1M count=4 2>/dev/null
	boot vhost net:10.77.8.2,ping:10.77.8.1,line:fetch,fetch:10.77.8.1:5801,carrier:0,carrier:1,line:give,give:10.77.8.1:5802:4,line:saved,ping:10.77.8.1:1400,fetch:10.77.8.1:5803,poweroff \
		-n tap,ifname=lkvhost,vhost=on
	host_net lkvhost 10.77.8.1
	serve_file vhost.file 5801
	take_file vhost.got 5802
	wait_line vhost "guest: waits for fetch"
	expect "ping from the host" ping -c 3 -W 10 10.77.8.2
	lkvm stat vhost >vhost.stat
	expect "lkvm has passed nothing" grep -q "sent 0 frames, 0 bytes, dropped 0; received 0 frames" vhost.stat
	expect "by vhost" grep -q "net0: *tap lkvhost by vhost, " vhost.stat
	echo fetch >&9
	wait_line vhost "guest: waits for carrier 0"
	expect "take the link away" lkvm debug vhost --link net0=down
	wait_line vhost "guest: waits for carrier 1"
	expect "no way" sh -c "! ping -c 1 -W 1 10.77.8.2"
	expect "put it back" lkvm debug vhost --link net0=up
	wait_line vhost "guest: waits for give"
	echo give >&9
	wait_line vhost "guest: waits for saved"
	expect "save it" lkvm snapshot vhost vhost.saved
	expect "it goes on" ping -c 3 -W 10 10.77.8.2
	expect "stop it" lkvm stop vhost
	wait_end vhost
	start vhost-on --restore vhost.saved
	exec 9>vhost-on.in
	host_net lkvhost 10.77.8.1
	serve_file vhost.file 5803
	echo saved >&9
	wait_end vhost-on
	expect_status vhost-on 0
	expect_line vhost "guest: ping 10.77.8.1 0% lost"
	expect_line vhost "guest: fetched $(sum vhost.file)"
	expect_line vhost "guest: carrier 1"
	expect "what the guest gave" same "$(given vhost)" "$(sum vhost.got)"
	expect_line vhost-on "guest: ping 10.77.8.1 0% lost"
	expect_line vhost-on "guest: fetched $(sum vhost.file)"
	expect "nothing went wrong" sh -c "! grep -h vhost-net vhost.err vhost-on.err"
}

test_vhostmq()
{
	dd if=/dev/urandom of=vhostmq.file bs=1M count=1 2>/dev/null
	boot vhostmq net:10.77.9.2,channels:2,ping:10.77.9.1,fetch:10.77.9.1:5901,channels:1,ping:10.77.9.1,channels:2,line:end,poweroff \
		-c 2 --virtio-transport mmio -n tap,ifname=lkvmq,queues=2,vhost=on
	host_net lkvmq 10.77.9.1
	serve_file vhostmq.file 5901
	wait_line vhostmq "guest: waits for end"
	expect "ping from the host" ping -c 3 -W 10 10.77.9.2
	echo end >&9
	wait_end vhostmq
	expect_status vhostmq 0
	expect_line vhostmq "guest: channels 2"
	expect_line vhostmq "guest: fetched $(sum vhostmq.file)"
	expect "pings" [ "$(grep -c 'guest: ping 10.77.9.1 0% lost' vhostmq.out)" -eq 2 ]
	expect "nothing went wrong" sh -c "! grep vhost-net vhostmq.err"
}

# frames NAME sent|received: so many have passed the device
frames() { lkvm stat "$1" | sed -n "s/.*$2 \([0-9]*\) frames.*/\1/p"; }

# passed NAME sent|received FROM TO: so many have, since there were $before
passed()
{
	after=$(frames "$1" "$2")
	echo "$1: $2 $((after - before)) frames"
	[ $((after - before)) -ge "$3" ] && [ $((after - before)) -le "$4" ]
}

# datagrams NAME NUMBER ADDRESS FROM TO: the guest sends 10 times 40 of them to the host, in so many frames
datagrams()
{
	udp-gso receive "71$2" 10 >"$1.got$2" &
	wait_until "the receiver" grep -qs ready "$1.got$2"
	before=$(frames "$1" sent)
	echo "send$2" >&9
	wait_until "all of them" grep -qs segments "$1.got$2"
	expect "all of them ($2)" grep -q "^400 segments" "$1.got$2"
	expect "in $4 to $5 frames ($2)" passed "$1" sent "$4" "$5"
}

test_uso()
{
	case $(uname -r) in
	[1-5].* | 6.[01].*) skip "this host's kernel is older than 6.2"; return ;;
	esac
	boot uso net:10.77.14.2,net6:fd77__2,offload:tx-udp-segmentation:on,features,line:send01,gso:10.77.14.1:7101,line:send02,gso:fd77__1:7102,line:back,ungso:7103,ungso:7104,line:off,offload:tx-udp-segmentation:off,line:send05,gso:10.77.14.1:7105,line:saved,gso:10.77.14.1:7106,poweroff \
		-n tap,ifname=lkuso
	host_net lkuso 10.77.14.1
	ip -6 addr add fd77::1/64 dev lkuso
	sleep 3 # until it is known that nobody else has it
	wait_line uso "guest: waits for send01"
	expect_line uso "guest: feature tx-udp-segmentation on"
	datagrams uso 01 10.77.14.1 10 60
	wait_line uso "guest: waits for send02"
	datagrams uso 02 fd77::1 10 60
	wait_line uso "guest: waits for back"
	before=$(frames uso received)
	echo back >&9
	wait_line uso "guest: receives at 7103"
	udp-gso send 10.77.14.2 7103 10
	wait_line uso "guest: receives at 7104"
	udp-gso send fd77::2 7104 10
	wait_line uso "guest: waits for off"
	expect "to the guest, in 20 to 120 frames" passed uso received 20 120
	expect "all of them" [ "$(tr -d '\r' <uso.out | grep -c '^guest: 400 segments in [0-9]* pieces')" -eq 2 ]
	echo off >&9
	wait_line uso "guest: waits for send05"
	datagrams uso 05 10.77.14.1 400 500
	wait_line uso "guest: waits for saved"
	expect "save it" lkvm snapshot uso uso.saved
	expect "stop it" lkvm stop uso
	wait_end uso
	# An end that does not take such ones: a switch
	run uso-without --restore uso.saved -n switch=uso </dev/null
	expect_status uso-without 125
	expect "it is refused: $(cat uso-without.err)" grep -q "net0 is not what it was" uso-without.err
	start uso-on --restore uso.saved
	exec 9>uso-on.in
	host_net lkuso 10.77.14.1
	udp-gso receive 7106 10 >uso.got06 &
	echo saved >&9
	wait_end uso-on
	expect_status uso-on 0
	wait_until "all of them" grep -qs segments uso.got06
	expect "all of them, restored" grep -q "^400 segments" uso.got06
}

# gained NAME NUMBER QUEUE: what that queue has got between the counts before the guest's number NUMBER, and after it
gained()
{
	tr -d '\r' <"$1.out" | sed -n 's/^guest: queues got //p' | sed -n "$((2 * $2 - 1)),$((2 * $2))p" | cut -d ' ' -f $(($3 + 1)) |
		paste -s -d ' ' | sed 's/\(.*\) \(.*\)/echo $((\2 - \1))/' | sh
}

# goes_to NAME NUMBER ADDRESS QUEUE OTHER: 20 packets do; what comes beside them, by ARP for example, may go elsewhere
goes_to()
{
	wait_line "$1" "guest: waits for ping$2"
	expect "pings $2" ping -c 20 -W 10 "$3"
	echo "ping$2" >&9
	wait_until "counts $2" counted "$1" "$2"
	expect "queue $4 gets them: $(gained "$1" "$2" "$4")" [ "$(gained "$1" "$2" "$4")" -ge 15 ]
	expect "queue $5 does not: $(gained "$1" "$2" "$5")" [ "$(gained "$1" "$2" "$5")" -lt 10 ]
}

counted() { ended "$1" || [ "$(grep -c "guest: queues got" "$1.out")" -ge $((2 * $2)) ]; }

test_rss()
{
	local words=
	for i in "1 weight:0:1" "2 weight:1:0" "3 weight:0:1"; do
		words="$words,steer:${i#* },counts,line:ping${i%% *},counts"
	done
	dd if=/dev/urandom of=rss.file bs=1M count=1 2>/dev/null
	boot rss "net:10.77.15.2,rings,channels:2,offload:rxhash:on$words,fetch:10.77.15.1:5151,give:10.77.15.1:5152:1,line:saved,ping:10.77.15.1,poweroff" \
		-c 2 -n tap,ifname=lkrss,queues=2,rss,packed
	host_net lkrss 10.77.15.1
	serve_file rss.file 5151
	take_file rss.got 5152
	goes_to rss 1 10.77.15.2 1 0
	goes_to rss 2 10.77.15.2 0 1
	wait_line rss "guest: waits for ping3"
	expect "save it" lkvm snapshot rss rss.saved
	goes_to rss 3 10.77.15.2 1 0
	wait_line rss "guest: waits for saved"
	echo saved >&9
	wait_end rss
	expect_status rss 0
	expect_line rss "guest: virtio[0-9] has a packed ring"
	expect_line rss "guest: rxhash on"
	expect_line rss "guest: fetched $(sum rss.file)"
	expect "what the guest gave" same "$(given rss)" "$(sum rss.got)"
	expect_line rss "guest: ping 10.77.15.1 0% lost"
	# It goes on where it was told to go to queue 1, from before it was counted again.
	start rss-on --restore rss.saved
	exec 9>rss-on.in
	host_net lkrss 10.77.15.1
	serve_file rss.file 5151
	take_file rss.got 5152
	expect "pings" ping -c 20 -W 10 10.77.15.2
	echo ping3 >&9
	wait_line rss-on "guest: queues got .*"
	grep "guest: queues got" rss.out | sed -n 5p | cat - rss-on.out >rss-both.out
	expect "queue 1 gets them: $(gained rss-both 1 1)" [ "$(gained rss-both 1 1)" -ge 15 ]
	expect "queue 0 does not: $(gained rss-both 1 0)" [ "$(gained rss-both 1 0)" -lt 10 ]
	wait_line rss-on "guest: waits for saved"
	echo saved >&9
	wait_end rss-on
	expect_status rss-on 0
	expect_line rss-on "guest: fetched $(sum rss.file)"
	run rss-without --restore rss.saved -n tap,ifname=lkrss,vhost=on </dev/null
	expect_status rss-without 125
	expect "it is refused: $(cat rss-without.err)" grep -q "rss does not go with vhost=on" rss-without.err
}

run_tests "$@"
