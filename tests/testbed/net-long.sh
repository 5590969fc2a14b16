#!/usr/bin/env bash
# net-long.sh [TEST...]: what of networks takes long: iperf3 both ways, of NET_IPERF_MIB (64), and NET_MIB (64) of random
# bytes there and back, over each kind of network, with Debian's cloud kernel; on this machine if its KVM can run Linux, else in an emulated host
# whose root is this machine's file tree. TAP; the tests are in net-long-job.sh. $LKVM is the lkvm to test.
set -euo pipefail
cd "$(dirname "$0")"
export LKVM="${LKVM:-$PWD/../../build/lkvm}"

# shellcheck source=tests/testbed/begin.sh
. ./begin.sh "networks for long"

folder=$(./kernels.sh cloud)
CLOUD=$(echo "$folder"/boot/vmlinuz-*)
NET_MIB=${NET_MIB:-64}
NET_IPERF_MIB=${NET_IPERF_MIB:-$((NET_MIB < 64 ? NET_MIB : 64))}
export CLOUD NET_MIB NET_IPERF_MIB
./host.sh --auto --tree --memory 3072 --timeout "${NET_TIMEOUT:-3000}" --module tun --module vhost_net --module veth --module macvtap \
	-- "$PWD/net-long-job.sh" "$@"
