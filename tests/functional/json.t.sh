#!/usr/bin/env bash
# lkvm-json(5) tells of every field that there is, and of none that there is not.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
page=Documentation/lkvm-json.5.in
seen=$T_TMP/seen

# see SECTION FILE...: note the names of all fields: name, gap.start, vcpus[].id
see()
{
	local section=$1
	shift
	jq -r 'paths | map(if type == "number" then "[]" else "." + . end) | join("")' "$@" |
		sed 's/^\(\[\]\)\{0,1\}\.//; /\[\]$/d' >>"$seen.$section"
}

# in_page SECTION MACRO: the items of that kind in it
in_page()
{
	sed -n "/^\\.Ss $1\$/,/^\\.S[sh] [^$(cut -c1 <<<"$1")]/s/^\\.It $2 //p" "$page" | tr -d '"' | sort -u
}

# result PROGRAM [OPTION]...
n=0
result()
{
	n=$((n + 1))
	g_run "$@" --result "$T_TMP/result.$n"
}

result hello.bin
result msr.bin
result pvpanic.bin
result triple-fault.bin
result reset.bin
result no-such-file
result loop.bin --timeout 1 --fail-on all
g_start halt.bin --result "$T_TMP/result.stopped" --virtio-transport mmio --vsock --numa mem=64,cpus=0,host=0 \
	-n user,hostfwd=tcp::0-:22 --mem-max 192M --vnc "unix:$T_TMP/vnc"
"$LKVM" list --json >"$T_TMP/list"
"$LKVM" stat --json test >"$T_TMP/stat"
"$LKVM" debug --memmap --json test >"$T_TMP/memmap"
"$LKVM" debug --regs --json test >"$T_TMP/regs"
"$LKVM" debug --clock --json test >"$T_TMP/clock"
"$LKVM" debug --backtrace --json test >"$T_TMP/backtrace"
"$LKVM" stat --all --json >"$T_TMP/stat.all"
"$LKVM" snapshot test "$T_TMP/saved" >"$T_TMP/said"
"$LKVM" snapshot --show "$T_TMP/saved" --json | jq '.sections[].records[].fields = {}' >"$T_TMP/snapshot"
"$LKVM" stop test
g_wait
g_start halt.bin --result "$T_TMP/result.signal"
kill -TERM "$g_pid"
g_wait
g_start clocks.mb -p keep
"$LKVM" debug --clock --json test >"$T_TMP/clock.used"
"$LKVM" stop test
g_wait
# It never starts its command, so that it prints nothing.
"$LKVM" run -c 1 -m 64 --name test -k "$GUESTS/serial-poll.pvh" -- echo </dev/null >/dev/null 2>&1 &
for ((i = 0; i < 600; i++)); do
	"$LKVM" list --json >"$T_TMP/list.command"
	! jq -es '.[0][0].command' "$T_TMP/list.command" >/dev/null || break
	sleep 0.05
done
"$LKVM" stop test
wait
see Result "$T_TMP"/result.*
echo withheld >>"$seen.Result" # tests/testbed/look.sh has a guest with an interrupt that it has masked
see List "$T_TMP/list" "$T_TMP/list.command"
see Stat "$T_TMP/stat" "$T_TMP/stat.all"
see Snapshot "$T_TMP/snapshot"
see Regs "$T_TMP/regs"
sed -i 's/^\(ds\|es\|fs\|gs\|ss\|ldt\|tr\)\./cs./' "$seen.Regs" # what one segment has, all have
see Memmap "$T_TMP/memmap"
see Backtrace "$T_TMP/backtrace"
see Clock "$T_TMP/clock" "$T_TMP/clock.used"

for section in Result List Stat Regs Memmap Clock Backtrace Snapshot; do
	t_is "$section: the fields" "$(in_page "$section" Va)" "$(sort -u "$seen.$section")"
done
t_is 'each reason that was seen is explained' \
	"$(jq -r .reason "$T_TMP"/result.* | sort -u | grep -Fvx "$(in_page Result Cm)")" ''
t_is 'the scheme' "$(jq .schema "$T_TMP"/result.* | sort -u)" 1
t_done
