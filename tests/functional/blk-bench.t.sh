#!/usr/bin/env bash
# The guest and the host program of `make bench BENCH_TABLES=block` still work: a short run of each,
# on both transports, and what they wrote is on the disk.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

: "${BENCH:?is the folder of the benchmark programs}"
BLOCKS=256
CALM='periods=2 cycles=60000000' # 20 ms each; where all is emulated that is not much

# all_ones: a fresh disk; the programs write zeros
all_ones()
{
	head -c $((BLOCKS * 4096)) /dev/zero | tr '\0' '\377' >"$T_TMP/disk"
}

# zero_blocks: how many blocks of the disk are zero
zero_blocks()
{
	od -An -v -t x1 -w4096 "$T_TMP/disk" | grep -Ecx '( 00)*'
}

# reports NAME REQUESTS: t_stdout has two periods, each of at least so many requests
reports()
{
	t_stdout | head -n 2 | awk -v least="$2" '
		!/^[0-9]+ [0-9]+ [0-9]+$/ || $1 < least || $2 <= 0 || $3 <= 0 { bad = 1 }
		END { exit bad || NR != 2 }'
	t_report $? "$1" "$(t_stdout; t_stderr)"
}

# guest NAME PARAMETERS [OPTION]...
guest()
{
	local name=$1 params=$2
	shift 2
	t_run "$LKVM" run --debug-exit -c 1 -m 256 -k "$GUESTS/blk-bench.pvh" -d "$T_TMP/disk" "$@" \
		-p "$CALM $params"
	t_is "$name: the guest ends well" "$t_rc $(t_stderr)" '1 '
}

for transport in pci mmio; do
	for depth in 1 32; do
		all_ones
		guest "$transport, read" "depth=$depth bytes=4096 write=0 random=1" --virtio-transport $transport
		reports "$transport: reads at depth $depth" "$depth"
		t_is "$transport: reads change nothing" "$(zero_blocks)" 0
		guest "$transport, write" "depth=$depth bytes=4096 write=1 random=1" --virtio-transport $transport
		reports "$transport: writes at depth $depth" "$depth"
		requests=$(t_stdout | awk '{ n += $1 } END { print n < 256 ? n : 256 }')
		t_is "$transport: each write at depth $depth is on the disk" "$(zero_blocks)" "$requests"
	done
done
all_ones
guest 'sequential' 'depth=4 bytes=262144 write=1 random=0'
t_ok 'sequential: the first megabyte was written' test "$(zero_blocks)" -ge 64

t_run "$BENCH/aio" "$T_TMP/disk" "$CALM depth=32 bytes=4096 write=1 random=1"
t_status 0
reports 'host program' 32
all_ones
t_run "$LKVM" run --debug-exit -c 1 -m 256 -k "$GUESTS/blk-bench.pvh" -d "$T_TMP/disk,ro" \
	-p "$CALM depth=1 bytes=4096 write=1 random=1"
t_is 'a write that is refused is seen' "$t_rc" 3
t_run bash -c 'ulimit -f 1; exec "$@"' sh "$LKVM" run --debug-exit -c 1 -m 256 \
	-k "$GUESTS/blk-bench.pvh" -d "$T_TMP/disk" -p "$CALM depth=1 bytes=4096 write=1 random=1"
t_is 'a limit of file sizes is an error of the guest' "$t_rc" 3
t_like 'it is named' "$(t_stderr)" "^lkvm: disk '$T_TMP/disk': write of 4096 bytes at .*: File too large"
t_done
