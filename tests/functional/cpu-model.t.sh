#!/usr/bin/env bash
# `lkvm check --cpu-json` and `lkvm run --cpu FILE`: this host's CPU as a file, which a guest gets; one that this host
# has not is refused by name; snapshots of such guests go on.
# shellcheck source=tests/functional/snapshot.bash
. "${0%/*}/snapshot.bash"

t_run "$LKVM" check --cpu-json
t_status 0
t_stderr_is ''
cp stdout host.json
t_ok "it is JSON" python3 -m json.tool host.json /dev/null
t_ok "and the same each time" cmp host.json <("$LKVM" check --cpu-json)

# guest FILE[,FEATURE]...
guest()
{
	g_run cpuid.mb -c 3 -p cpus=3 --cpu "$1"
	t_status 1
}

guest ./host.json
guest ./host.json,-sse3

# other NAME PYTHON: the file of this host with a change to `leaf`, a dictionary by function and index
other()
{
	python3 - "$2" >"$1" <<-'END'
		import json, sys
		model = json.load(open('host.json'))
		leaf = {(int(e['function'], 16), int(e.get('index', '0x0'), 16)): e for e in model['cpuid']}
		def put(function, index, register, change):
		    e = leaf[function, index]
		    e[register] = hex(change(int(e[register], 16)) & 0xffffffff)
		exec(sys.argv[1])
		print(json.dumps(model))
	END
}

# refused MESSAGE FILE
refused()
{
	g_run reset.bin --cpu "$2"
	t_status 125
	t_stderr_is "lkvm: $1"
}

other less.json 'put(1, 0, "edx", lambda v: v & ~(1 << 17))'
guest less.json
t_run "$LKVM" run --debug-exit -c 1 -m 64 -k "$GUESTS/cpuid.mb" -p cpus=1 --cpu less.json,+pse36
t_status 1
other more.json 'put(7, 0, "edx", lambda v: v | 1 << 22)'
refused "--cpu: CPU feature 'amx_bf16': not supported by this host's KVM" more.json
other bit.json 'put(1, 0, "ecx", lambda v: v | 1 << 16)'
refused "--cpu: CPU feature 0x1.0 ECX bit 16: not supported by this host's KVM" bit.json
other wide.json 'put(0x80000008, 0, "eax", lambda v: v & ~0xff | 60)'
t_run "$LKVM" run -c 1 -m 64 -k "$GUESTS/reset.bin" --cpu wide.json
t_status 125
t_stderr_like '^lkvm: --cpu: physical addresses of 60 bits, but this host.s CPU has [0-9]+$'

# ---- snapshots ----

truncate -s 1M disk0
begin witness.mb --cpu less.json -d disk0 -p disks=1
t_ok "the guest starts" heard '^ready$'
t_ok "it is saved" "$LKVM" snapshot test snap
printf a >&4
t_ok "it goes on" heard '^[0-9]+$'
finish 1 "and finds nothing wrong"
restore snap aq
t_status 1
restore snap q --cpu less.json
t_status 125
t_stderr_is 'lkvm: --cpu does not go with --restore: the machine is there already'
t_done
