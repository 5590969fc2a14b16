#!/usr/bin/env bash
# The tests of tests/testbed/net-long.sh, where KVM can run Linux. They have a network of their own. $CLOUD is a kernel of
# Debian, $NET_MIB how much passes in each test, each way, and $NET_IPERF_MIB how much of iperf3's.
tests="
tap        iperf3 both ways, and bytes there and back, over a tap
vhost      the same by vhost-net
macvtap    the same over a macvtap on one end of a pair of interfaces
user       the same over a user network
passt      the same by passt
switch     the same between two guests on a switch
"

if [ -z "${NET_JOB-}" ]; then
	NET_JOB=1 exec unshare -nm --pid --fork --kill-child --mount-proc bash "$0" "$@"
fi
# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"
# shellcheck source=tests/testbed/session-net.sh
. "$here/session-net.sh"
per_guest=6000 # an emulated host passes a MiB in a second, or twenty
busybox ip link set lo up
# passt wants a way out.
ip tuntap add out0 mode tap
ip addr add 192.0.2.2/24 dev out0
ip link set out0 up
ip route add default via 192.0.2.1

# commands ADDRESS [SETUP]: what the guest does: two reports of iperf3, and a sum of what it has sent and one of what came back
commands()
{
	functions
	cat <<-END
		${2-}
		iperf3 -J -c $1 -n ${NET_IPERF_MIB}M >&3 || echo iperf3 failed
		iperf3 -J -R -c $1 -n ${NET_IPERF_MIB}M >&3 || echo iperf3 failed
		head -c ${NET_MIB}M /dev/urandom | tee >(sha256sum >sent) | tcp $1 5001 | sha256sum >back
		until [ -s sent ]; do sleep 0.1; done
		cat sent back
	END
}

# reported NAME: both ways the bytes came, but for what was still under way when iperf3's sender was through
reported()
{
	[ "$(jq -s "map(select(.end.sum_received.bytes > $NET_IPERF_MIB * 850000)) | length" "$1.iperf")" = 2 ]
}

# figures: of iperf3, to the host and from it
figures()
{
	local file
	for file in *.iperf; do
		jq -rs --arg name "${file%.iperf}" '"# \($name): MiB a second: " +
			(map(.end.sum_received.bits_per_second / 8388608 * 10 | floor / 10 | tostring) | join(", "))' "$file"
	done 2>/dev/null
}

# through_network NAME ADDRESS SETUP OPTION...
through_network()
{
	local name=$1
	commands "$2" "$3" >"$name.sh"
	shift 3
	mkdir "$name.rw"
	run "$name" -k "$CLOUD" -c 1 -m 256 --rw "$work/$name.rw" --cwd "$work/$name.rw" "$@" -- \
		bash -c "exec 3>iperf; . $work/$name.sh" </dev/null
	cp "$name.rw/iperf" "$name.iperf"
	expect_status "$name" 0
	expect "iperf3" reported "$name"
	expect "as much as was sent" [ "$(sort -u "$name.out" | wc -l)" = 1 ]
	expect "sums" [ "$(grep -c '^[0-9a-f]\{64\} ' "$name.out")" = 2 ]
}

# serve_at ADDRESS
serve_at()
{
	(iperf3 -s -B "$1" >/dev/null 2>&1 &) # nothing waits for it
	wait_until "iperf3" listening "$1"
}

listening() { ss -Hltn src "$1:5201" | grep -q .; }

# tap NAME NUMBER KEYS
tap()
{
	ip tuntap add "$1" mode tap
	ip addr add "10.79.$2.1/24" dev "$1"
	ip link set "$1" up
	serve_at "10.79.$2.1"
	through_network "$1" "10.79.$2.1" "busybox ip addr add 10.79.$2.2/24 dev eth0; busybox ip link set eth0 up" \
		-n "tap,ifname=$1$3"
}

test_tap() { tap tap 1 ''; }

test_vhost()
{
	[ -e /dev/vhost-net ] || { skip "this host has no /dev/vhost-net"; return; }
	tap vhost 2 ,vhost=on
}

# A macvtap passes only frames of its own address.
new_macvtap()
{
	ip link add under4 type veth peer name macvtap &&
		ip link add link under4 name mv4 address 02:00:00:00:04:02 type macvtap mode bridge
}

# The other end of the pair is this host's.
test_macvtap()
{
	new_macvtap 2>ip.log || { skip "this host has no veth or macvtap: $(cat ip.log)"; return; }
	ip addr add 10.79.4.1/24 dev macvtap
	ip link set macvtap up
	ip link set under4 up
	ip link set mv4 up
	wait_until "its device" [ -c "/dev/tap$(ip -j link show mv4 | jq '.[0].ifindex')" ]
	exec 7<>"/dev/tap$(ip -j link show mv4 | jq '.[0].ifindex')"
	serve_at 10.79.4.1
	through_network macvtap 10.79.4.1 "busybox ip addr add 10.79.4.2/24 dev eth0; busybox ip link set eth0 up" \
		-n tap,fd=7,mac=02:00:00:00:04:02
	exec 7>&-
}

# The guest's way to this host's loopback
test_user()
{
	through_network user 10.0.2.2 '' -n user
}

test_passt()
{
	command -v passt >/dev/null || { skip "passt is not installed"; return; }
	through_network passt 10.0.2.2 '' -n passt
}

test_switch()
{
	{
		functions
		echo 'iperf3 -s >/dev/null & echo_server 5001'
	} >server.sh
	detached server -n switch=lan,mac=02:00:00:00:00:01,mtu=9000 -- bash "$work/server.sh"
	through_network switch 10.0.0.1 'until iperf3 -c 10.0.0.1 -n 1 >/dev/null 2>&1; do sleep 0.2; done' \
		-n switch=lan,mac=02:00:00:00:00:02,mtu=9000
	lkvm stop server >/dev/null
}

(echo_server 5001 >served &)
serve_at 127.0.0.1
wait_until "the server" [ -s served ]
run_tests "$@"
figures || true
