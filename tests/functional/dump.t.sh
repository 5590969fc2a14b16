#!/usr/bin/env bash
# `lkvm dump`: what is in the file, compared with what the guest says of itself, and what is refused or given up.
# tests/guest/debug.c is the guest.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
cd "$T_TMP" || exit

# bytes FILE OFFSET N: N bytes as a little-endian number in hexadecimal
bytes() { od -An -v -tx8 -j "$2" -N "$3" "$1" | tr -d ' ' | sed 's/^0*\(.\)/0x\1/'; }
# phdr N FIELD: of the file "core"; fields of 8 bytes: 1 offset, 2 virtual address, 3 physical address, 4 bytes
phdr() { printf '%d' "$(bytes core $((64 + 56 * $1 + 8 * $2)) 8)"; }
dump() { t_run timeout 60 "$LKVM" dump test "$1"; }
regs() { "$LKVM" debug --regs --json test | jq -r --argjson cpu "$1" ".[\$cpu].$2"; }
left() { find . -maxdepth 1 -name 'core*' -o -maxdepth 1 -name '.lkvm-dump*'; }

# ---- what is in it ----

g_start debug.mb -p cpus=2 -c 2 -m 3329
t_ok "paused" "$LKVM" pause test
dump core
t_status 0
t_stdout_like "dumped to 'core': [0-9]*MB of RAM without a Linux; it stood still for "
t_is "nobody else can read it" "$(stat -c %a core)" 600
t_like "it is a core file" "$(readelf -h core)" 'Type: +CORE'
t_is "two parts of RAM, and notes" "$(readelf -lW core | awk '$1 == "NOTE" || $1 == "LOAD" { print $1, $4, $5 }' | xargs)" \
	"NOTE 0x0000000000000000 $(readelf -lW core | awk '$1 == "NOTE" { print $5 }') LOAD 0x0000000000000000 0xd0000000 LOAD 0x0000000100000000 0x100000"
t_is "as large as RAM" "$(stat -c %s core)" $(($(phdr 1 1) + 3329 * 1024 * 1024))
[ $(($(stat -c %b core) * 512)) -lt $((16 << 20)) ]
t_report $? "pages of zeros are holes" "$(stat -c %b core) blocks"
t_is "its notes" "$(readelf -n core 2>/dev/null | awk '$1 == "CORE" || $1 == "QEMU" { print $1, $2 }' | xargs)" \
	"CORE 0x00000150 CORE 0x00000150 QEMU 0x000001b8 QEMU 0x000001b8"

# A note of NT_PRSTATUS: head and name are 20 bytes, then the registers from 112 on; one of QEMU's likewise, from 8 on
notes=$(phdr 0 1)
for cpu in 0 1; do
	status=$((notes + cpu * (20 + 336) + 20)) qemu=$((notes + 2 * (20 + 336) + cpu * (20 + 440) + 20))
	t_is "vCPU $cpu is thread $((cpu + 1))" "$(od -An -td4 -j $((status + 32)) -N 4 core | tr -d ' ')" $((cpu + 1))
	for reg in r15:0 rbp:4 rax:10 rdi:14 rip:16 rflags:18 rsp:19; do
		t_is "vCPU $cpu: ${reg%:*}" "$(bytes core $((status + 112 + 8 * ${reg#*:})) 8)" "$(regs $cpu "${reg%:*}")"
	done
	t_is "vCPU $cpu: cs" "$(bytes core $((status + 112 + 8 * 17)) 8)" "$(regs $cpu cs.selector)"
	for reg in rax:0 rsp:6 rip:16; do
		t_is "vCPU $cpu, QEMU's note: ${reg%:*}" "$(bytes core $((qemu + 8 + 8 * ${reg#*:})) 8)" "$(regs $cpu "${reg%:*}")"
	done
	for reg in 0 2 3 4; do
		t_is "vCPU $cpu, QEMU's note: cr$reg" "$(bytes core $((qemu + 392 + 8 * reg)) 8)" "$(regs $cpu cr$reg)"
	done
done

# The guest's program is where its file says; a byte is the same, unless it is a variable.
text=$(readelf -lW "$GUESTS/debug.mb.elf" | awk '$1 == "LOAD" { print $2, $4, $5; exit }')
read -r from to size <<<"$text"
differing=$(cmp -l -n $((size)) -i $((from)):$(($(phdr 1 1) + to)) "$GUESTS/debug.mb.elf" core | wc -l)
t_report $((differing > 256)) "RAM has the guest's program, but for its variables" "$differing bytes differ"
t_ok "a paused guest stays paused" [ "$("$LKVM" list --json | jq -r '.[].state')" = paused ]

# ---- compressed ----

# header OFFSET: four bytes of the file "kdump", as a number
header() { od -An -tu4 -j "$1" -N 4 kdump | tr -d ' '; }
for how in zlib:1 lzo:2 zstd:32; do
	t_run "$LKVM" dump test kdump --compress "${how%:*}"
	t_status 0
	t_is "${how%:*}: its signature" "$(head -c 8 kdump)" "KDUMP   "
	t_is "${how%:*}: version, flag, size of a block" "$(header 8) $(header 424) $(header 428)" "6 ${how#*:} 4096"
	t_is "${how%:*}: nobody else can read it" "$(stat -c %a kdump)" 600
	[ "$(stat -c %s kdump)" -lt $((3329 * 256 * 24 + (2 << 20))) ]
	t_report $? "${how%:*}: there is one page of zeros" "$(stat -c %s kdump) bytes"
	rm kdump
done
for how in none zlib; do
	t_run "$LKVM" dump test kdump --compress "$how" --exclude zero
	t_status 0
	t_stdout_like "left out: 0 free pages, 0 of files, 0 of programs, [0-9]* of zeros"
	rm kdump
	t_run "$LKVM" dump test kdump --compress "$how" --exclude free,zero
	t_status 1
	t_stderr_like "there is no Linux in its memory that tells what its pages are; 'zero' alone can be left out"
done
t_run "$LKVM" dump test kdump --exclude free,none
t_status 125
t_is "nothing is there, after what was refused" "$(ls kdump 2>/dev/null)" ""
t_run "$LKVM" dump test kdump --compress brotli
t_status 125
t_is "nothing is there" "$(ls kdump 2>/dev/null)" ""

# ---- what is refused ----

before=$(stat -c '%i %Y' core)
dump core
t_status 1
t_stderr_like "guest 'test' cannot be dumped to 'core': it exists, and is not replaced"
t_is "it is what it was" "$(stat -c '%i %Y' core)" "$before"
rm core
ln -s nowhere core
dump core
t_status 1
t_stderr_like "it exists, and is not replaced"
t_ok "a link leads nowhere still" [ ! -e nowhere ]
rm core
dump nowhere/core
t_status 125
t_stderr_like "open the folder of 'nowhere/core': No such file or directory"
dump .
t_status 125
t_run "$LKVM" dump test
t_status 125
t_run "$LKVM" dump nobody core
t_status 1
t_is "nothing is left" "$(left)" ""
t_ok "resumed" "$LKVM" resume test
dump core
t_status 0
t_ok "a guest that runs goes on" [ "$("$LKVM" list --json | jq -r '.[].state')" = running ]
rm core

# A file may be no larger than what is allowed, as a full disk may take no more. One that has the most is as good.
t_ok "no file larger than 1 MB from now on" prlimit --pid "$g_pid" --fsize=1048576
dump core
t_status 1
t_stderr_like "cannot be dumped to 'core': "
t_is "nothing is left of it" "$(left)" ""
t_ok "the guest runs" [ "$("$LKVM" list --json | jq -r '.[].state')" = running ]
"$LKVM" stop test
g_wait

# ---- --dump-on ----

# ends NAME STATUS PROGRAM OPTION...: it does, and leaves a dump or not
ends()
{
	local name=$1 status=$2
	shift 2
	g_run "$@"
	t_status "$status"
	t_is "$name" "$(stat -c '%a %s' core 2>/dev/null || echo none)" "$wanted"
	rm -f core
}
wanted="600 67112960"
ends "a fault leaves a dump" 121 fault.bin --dump-on panic,fault:core
ends "so does a time limit" 124 loop.bin --timeout 1 --dump-on timeout:core
ends "and a panic that pvpanic tells" 120 pvpanic.bin --dump-on panic:core
ends "all pages, if nobody tells which they are" 121 fault.bin --dump-on fault:core --dump-exclude free,zero
t_stderr_like "the dump has all pages: there is no Linux in its memory"
t_stderr_like "left out: 0 free pages, 0 of files, 0 of programs, 163[0-9]* of zeros"
wanted=none
ends "another end does not" 124 loop.bin --timeout 1 --dump-on panic,fault:core
ends "nor does a good one" 0 poweroff.bin --dump-on panic,fault,timeout:core
ends "a folder that is not there costs the dump only" 124 loop.bin --timeout 1 --dump-on timeout:nowhere/core
t_stderr_like "open the folder of 'nowhere/core': No such file or directory"
for words in timeout :core timeout: nothing:core; do
	g_run loop.bin --dump-on "$words"
	t_status 125
done
echo old >core
g_run loop.bin --timeout 1 --dump-on timeout:core
t_status 125
t_stderr_like "'core' exists, and is not replaced"
rm core

# ---- who is killed ----

# The guest uses a lot of RAM, so that it takes a while: a file that it is taken from.
head -c 600M /dev/zero | tr '\0' x >ram
g_start debug.mb -p cpus=1 -m 600 --mem-path ram
"$LKVM" dump test core &
client=$!
sleep 0.1
kill -INT "$client"
kill -KILL "$client"
wait "$client" 2>/dev/null
sleep 0.5
t_ok "the client was killed: the guest runs" [ "$("$LKVM" list --json | jq -r '.[].state')" = running ]
t_is "and there is all of it or nothing" "$(stat -c %s core 2>/dev/null || echo none)" none
"$LKVM" dump test core &
client=$!
sleep 0.1
kill -KILL "$g_pid"
wait "$client"
g_wait
sleep 1
t_like "the guest's lkvm was killed: all of it or nothing" "$(stat -c %s core 2>/dev/null || echo none)" '^(none|629149696)$'
rm -f core
t_is "nothing else is left" "$(left)" ""
t_done
