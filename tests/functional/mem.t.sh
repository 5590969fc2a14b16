#!/usr/bin/env bash
# Memory that is plugged: what --mem-max and `lkvm mem` say, and where it would be. What a driver does with it:
# hostile.t.sh, and tests/testbed/memory-job.sh for Linux's.
# shellcheck source=tests/functional/snapshot.bash
. "${0%/*}/snapshot.bash"

kernel=$GUESTS/bzimage.bz

# ---- what is refused ----

# refused TEXT OPTION...: --dry-run ends with this line
refused()
{
	local text=$1
	shift
	t_run "$LKVM" run --dry-run -c 1 -k "$kernel" "$@"
	t_status 125
	t_stderr_is "lkvm: $text"
}

refused "--mem-max: 256MB is not more than the guest's RAM of 256MB (--mem)" -m 256 --mem-max 256
refused "--mem-max: 128MB is not more than the guest's RAM of 256MB (--mem)" -m 256 --mem-max 128M
refused "--mem-max: 257MB is 1024KB more than the guest's RAM, and memory comes in blocks of 2MB" -m 256 --mem-max 257
refused "--mem-max does not go with --mem-share: memory that is plugged is anonymous" -m 256 --mem-max 1G --mem-share
refused "--mem-max does not go with --mem-path: memory that is plugged is anonymous" -m 256 --mem-max 1G \
	--mem-path "$T_TMP"
refused "option '--mem-max': 'x' is no size (4096, 4G)" --mem-max x
refused "option '--mem-max': '0' is nothing" --mem-max 0
t_run "$LKVM" run --dry-run -c 1 -m 256 --mem-max 100P -k "$kernel"
t_status 125
t_like '--mem-max 100P' "$(t_stderr)" \
	'^lkvm: --mem-max: 107374182400MB needs addresses up to 0x192000000000000, and those of this host end at 2\^[0-9]+$'

# ---- where it is: above RAM and persistent memory, in no e820; blocks ----

# place RAM MAX OPTION...: what --dry-run says of it
place()
{
	t_run "$LKVM" run --dry-run -c 1 -m "$1" --mem-max "$2" "${@:3}" -k "$kernel"
	[ "$t_rc" -eq 0 ] || t_stderr
	t_stdout | sed -n '/^memory that is plugged/{n;s/^ *//;p;}'
}

truncate -s 3M "$T_TMP/pmem"
t_is 'behind the gap' "$(place 256 1G)" '0x000100000000-0x00012fffffff  0MB of it now, in blocks of 4MB'
t_is 'whole sections' "$(place 64 76M)" '0x000100000000-0x000107ffffff  0MB of it now, in blocks of 2MB'
t_is 'above RAM' "$(place 4096 5G)" '0x000140000000-0x00017fffffff  0MB of it now, in blocks of 4MB'
t_is 'above persistent memory' "$(place 4096 5G --pmem "$T_TMP/pmem")" \
	'0x000180000000-0x0001bfffffff  0MB of it now, in blocks of 4MB'
t_like 'Linux is told to use it' "$(t_stdout)" \
	'^cmdline: .* memhp_default_state=online memory_hotplug.online_policy=auto-movable( |$)'
t_run "$LKVM" run --dry-run -c 1 -m 256 --mem-max 1G --nodefaults -p quiet -k "$kernel"
t_like 'not with --nodefaults' "$(t_stdout)" '^cmdline:  quiet$'
place 320 16G >/dev/null
t_stderr_is ''
place 320 64G >/dev/null
t_stderr_is 'lkvm: --mem-max: 65344MB, as memory comes in blocks of 256MB'

# ---- a guest without a driver ----

g_start halt.bin --mem-max 128M
t_run "$LKVM" mem test
t_stdout_is '64MB of 128MB; the guest has no driver for memory that is plugged'
t_status 0
t_run "$LKVM" mem test 96M
t_status 1
t_stderr_is "lkvm: guest 'test' does not follow: it has no driver for memory that is plugged, or none yet (virtio_mem)"
t_stdout_is '64MB of 128MB, to be 96MB; the guest has no driver for memory that is plugged'
t_run "$LKVM" mem --no-wait test 71M
t_status 0
t_stderr_is 'lkvm: mem: 71M becomes 72MB in all: memory is plugged in blocks of 2MB'
t_run "$LKVM" mem --no-wait test -- -2M
t_stdout_is '64MB of 128MB, to be 70MB; the guest has no driver for memory that is plugged'
t_run "$LKVM" mem --no-wait test +58M
t_stdout_is '64MB of 128MB, to be 128MB; the guest has no driver for memory that is plugged'
for size in 63M 130M +1M; do
	t_run "$LKVM" mem test $size
	t_status 1
	t_stderr_is "lkvm: guest 'test' cannot have $size: it was started with 64MB, below which goes \`lkvm balloon\`, and \
can have 128MB (--mem-max)"
done
t_run "$LKVM" mem test 1x
t_status 125
t_run "$LKVM" stat test
t_like 'stat' "$(t_stdout)" '^plugged:  0MB, to be 64MB, of 64MB; the guest has no driver for it$'
t_run "$LKVM" stat --json test
t_is 'stat --json' "$(t_stdout | jq -c 'if type == "array" then .[0] else . end | .mem')" \
	'{"driver":false,"plugged_bytes":0,"requested_bytes":67108864,"most_bytes":67108864,"block_bytes":2097152}'
t_run "$LKVM" debug --memmap --json test
t_is 'memmap' "$(t_stdout | jq -c '.plug')" \
	'{"start":"0x100000000","size_bytes":134217728,"block_bytes":2097152,"plugged_bytes":0}'
"$LKVM" stop test >/dev/null
g_wait

# ---- one to which none can be plugged ----

g_start halt.bin
t_run "$LKVM" mem test max
t_status 1
t_stderr_is "lkvm: guest 'test' can have no more than it was started with: that takes --mem-max"
"$LKVM" stop test >/dev/null
g_wait
t_done
