#!/usr/bin/env bash
# The commands on running guests: list, stop, pause, resume, stat, debug. Guests are a few bytes of
# real-mode code each, so they run on every KVM.
# shellcheck source=tests/functional/lib.sh
. "${0%/*}/lib.sh"

# ---- guests ----

# asm NAME BYTES: a flat binary, entered at 0x1000:0
asm()
{
	# shellcheck disable=SC2059 # the bytes are the format
	printf "$2" >"$T_TMP/$1.bin"
}

asm spin '\xeb\xfe'                                 # jmp .
asm halt '\xf4\xeb\xfd'                             # hlt; jmp
asm hello '\xb0\x48\xba\xf8\x03\xee\xf4\xeb\xfd'    # 'H' to 0x3f8; hlt; jmp
# echo: wait for LSR.DR at 0x3fd; 0x3f8 back to 0x3f8; jmp
asm echo '\xba\xfd\x03\xec\xa8\x01\x74\xf8\xba\xf8\x03\xec\xee\xeb\xf1'
# nmi: vector 2 to 0x1000:0x19, 'R' to 0x3f8; hlt; jmp; handler: 'N' to 0x3f8; iret
asm nmi '\x31\xc0\x8e\xd8\xc7\x06\x08\x00\x19\x00\xc7\x06\x0a\x00\x00\x10\xb0\x52\xba\xf8\x03\xee\xf4\xeb\xfd\xb0\x4e\xba\xf8\x03\xee\xcf'
# button: enable PWRBTN (0x602), 'R', wait for its status (0x600), then S5 through 0x604
asm button '\xba\x02\x06\xb8\x00\x01\xef\xb0\x52\xba\xf8\x03\xee\xba\x00\x06\xed\xf6\xc4\x01\x74\xfa\xba\x04\x06\xb8\x00\x34\xef\xf4\xeb\xfd'
# deaf: the same without taking notice: enable PWRBTN, 'R'; hlt; jmp
asm deaf '\xba\x02\x06\xb8\x00\x01\xef\xb0\x52\xba\xf8\x03\xee\xf4\xeb\xfd'

trap 'kill -9 $(jobs -p) 2>/dev/null; rm -rf "$T_TMP"' EXIT

# until_true SECONDS CMD...: poll for what has no event that a shell could wait for
until_true()
{
	local tries=$(($1 * 50))
	shift
	until "$@"; do
		[ $((tries -= 1)) -gt 0 ] || return 1
		sleep 0.02
	done
}

# start NAME PROGRAM [OPTION]...: returns once the guest has a control socket
start()
{
	local name=$1 program=$2
	shift 2
	"$LKVM" run --name "$name" -m 64 -c 1 -k "$T_TMP/$program.bin" "$@" \
		>"$T_TMP/$name.out" 2>"$T_TMP/$name.err" </dev/null &
	pid=$!
	until_true 30 test -S "$LKVM_DIR/$name.sock"
}

# said NAME TEXT: waits until the guest has printed it
said()
{
	until_true 30 grep -q "$2" "$T_TMP/$1.out"
}

# ended PID STATUS NAME: the `lkvm run` process
ended()
{
	local rc=0
	wait "$1" || rc=$?
	t_is "lkvm run $3 ends with status" "$rc" "$2"
}

no_socket()
{
	t_ok "$1 has no socket any more" test ! -e "$LKVM_DIR/$1.sock"
}

t_json()
{
	# One document: of none jq says that all is well.
	t_ok "$t_command: $1" jq -es "length == 1 and (.[0] | $1)" "$T_TMP/stdout"
}

# ---- nothing runs ----

t_run "$LKVM" list
t_status 0
t_stdout_is "NAME                        PID STATE          UPTIME        RAM  CPUS COMMAND"
t_run "$LKVM" list --json
t_status 0
t_json '. == []'
mkdir -m 755 "$T_TMP/open"
for option in '' --json; do # no list, not an empty one
	LKVM_DIR=$T_TMP/open t_fails 1 "control folder '$T_TMP/open' has mode 0755, must have 0700" \
		"$LKVM" list $option
done
t_run "$LKVM" stop --all
t_status 0
t_stdout_is ""
for command in stop pause resume stat debug; do
	t_fails 1 "no guest named 'x' is running" "$LKVM" "$command" x
	t_fails 125 "invalid guest name '../x'" "$LKVM" "$command" ../x
	t_fails 125 "invalid guest name 'a/b'" "$LKVM" "$command" a/b
done
for command in stop pause resume stat; do
	t_fails 125 "$command: which guest? NAME or --all" "$LKVM" "$command"
	t_fails 125 "$command: either NAME or --all" "$LKVM" "$command" --all x
done
t_fails 125 "debug: give one NAME" "$LKVM" debug a b
t_fails 125 "--translate '0x': not a hexadecimal address of 64 bits" "$LKVM" debug a --translate 0x
t_fails 125 "--translate '12345678123456789': not a hexadecimal address of 64 bits" \
	"$LKVM" debug a --translate 12345678123456789
t_fails 125 "--translate '-1': not a hexadecimal address of 64 bits" "$LKVM" debug a --translate -1
t_fails 125 "--sysrq 'cc': must be one character" "$LKVM" debug a --sysrq cc
t_fails 125 "--nmi 'x': not the number of a virtual CPU" "$LKVM" debug a --nmi x
t_fails 125 "list: either --json or --quiet" "$LKVM" list -jq
t_fails 125 "invalid guest name 'a b'" "$LKVM" list 'a b'

# ---- one guest ----

start a spin -m 128
t_ok "mode of the socket folder is 0700" test "$(stat -c %a "$LKVM_DIR")" = 700
t_run "$LKVM" list
t_status 0
t_stdout_like "^a +$pid running +[0-9]+s +128MB +1\$"
t_run "$LKVM" list --json
t_json ".[0].name == \"a\" and .[0].pid == $pid and .[0].state == \"running\""
t_json '.[0].ram_bytes == 134217728 and .[0].cpus == 1 and .[0].uptime_ns > 0'

t_fails 1 "guest 'a' takes no commands: it was started without -- COMMAND and without --root" "$LKVM" exec a -- true
t_fails 125 "a guest named 'a' is running already" \
	"$LKVM" run --name a -m 64 -c 1 -k "$T_TMP/halt.bin"
t_run "$LKVM" pause a
t_status 0
t_stdout_is "lkvm: guest 'a' paused"
t_run "$LKVM" pause --name a
t_status 0
t_stdout_is "lkvm: guest 'a' is paused already"
t_run "$LKVM" list --json
t_json '.[0].state == "paused"'
t_run "$LKVM" resume a
t_status 0
t_stdout_is "lkvm: guest 'a' resumed"
t_run "$LKVM" resume -n a
t_status 0
t_stdout_is "lkvm: guest 'a' is running already"
t_run "$LKVM" pause a
t_run "$LKVM" stop a
t_status 0
t_stdout_is "lkvm: guest 'a' stopped"
t_ok "the process of a is gone when stop returns" test ! -e "/proc/$pid/exe"
no_socket a
ended "$pid" 0 a

# ---- several guests, dead guests ----

start a halt
a=$pid
start b spin
b=$pid
start c halt
c=$pid
kill -9 "$b"
wait "$b" 2>/dev/null
t_run "$LKVM" stop a b c d
t_status 1
t_is "$t_command: standard output, in whatever order they end" "$(sort "$T_TMP/stdout")" \
	"lkvm: guest 'a' stopped
lkvm: guest 'c' stopped"
t_stderr_is "lkvm: no guest named 'd' is running
lkvm: guest 'b' has died; its control socket was removed"
no_socket b
ended "$a" 0 a
ended "$c" 0 c

start b halt
kill -9 "$pid"
wait "$pid" 2>/dev/null
t_run "$LKVM" list --json
t_status 0
t_json '. == []'
t_stderr_is "lkvm: warning: guest 'b' has died; its control socket was removed"
no_socket b

start b halt
kill -9 "$pid"
wait "$pid" 2>/dev/null
rm "$T_TMP/b.out"
start b hello
said b H
t_report $? "a dead guest's name can be taken" "$(cat "$T_TMP/b.err")"
t_run "$LKVM" stop b
t_status 0
ended "$pid" 0 b

# ---- every way out removes the socket ----

for signal in TERM INT HUP; do
	start s spin
	kill "-$signal" "$pid"
	wait "$pid"
	no_socket s
done
start s button
said s R
t_run "$LKVM" stop --graceful 30 s
t_stdout_is "lkvm: guest 's' powered off"
no_socket s
ended "$pid" 0 s
t_run "$LKVM" run --name s -m 64 -c 1 -k "$T_TMP"
t_status 125
no_socket s

# ---- stop --graceful ----

start s button
said s R
t_run "$LKVM" pause s
t_run "$LKVM" stop --graceful 30 s
t_status 0
t_stdout_is "lkvm: guest 's' resumed
lkvm: guest 's' powered off"
ended "$pid" 0 s
start s deaf
said s R
t_run "$LKVM" stop --graceful 1 s
t_status 0
t_stdout_is "lkvm: guest 's' stopped"
t_stderr_is "lkvm: guest 's' did not power off in 1 s, stopping it"
ended "$pid" 0 s
start s halt
t_run "$LKVM" stop -g 1 s
t_status 0
t_stdout_is "lkvm: guest 's' stopped"
t_stderr_is "lkvm: guest 's' did not listen to its power button for 1 s, stopping it"
ended "$pid" 0 s

# ---- stat, debug ----

start d hello -c 2
said d H
t_run "$LKVM" stat d
t_status 0
t_stdout_like '^state: +running$'
t_stdout_like '^RAM: +64MB, of which [0-9.]+MB resident$'
t_stdout_like '^console: +1 bytes in 1 writes$'
t_stdout_like '^ +0 +[1-9]'
t_stdout_like '^ +1 +[0-9]'
t_run "$LKVM" stat --json -n d
t_status 0
t_json '.name == "d" and .state == "running" and .ram_bytes == 67108864'
t_json '.ram_resident_bytes > 0 and .ram_resident_bytes <= 67108864'
t_json '.console_bytes == 1 and .console_writes == 1'
t_json '(.vcpus | map(.id)) == [0, 1] and .vcpus[0].io >= 1 and .vcpus[0].exits >= .vcpus[0].io'

t_run "$LKVM" debug d
t_status 0
t_is "debug shows both vCPUs" "$(grep -Eic 'vcpu [01]' "$T_TMP/stdout")" 2
t_run "$LKVM" debug d --cpu 1
t_status 0
t_is "debug --cpu shows one vCPU" "$(grep -Eic 'vcpu [01]' "$T_TMP/stdout")" 1
t_fails 1 "guest 'd' has no virtual CPU 2: it has 2, from 0" "$LKVM" debug d --cpu 2
t_fails 1 "guest 'd' has no virtual CPU 9: it has 2, from 0" "$LKVM" debug d --nmi 9
t_run "$LKVM" list --json
t_json '.[0].state == "running"'

t_run "$LKVM" debug d --memmap
t_status 0
t_stdout_like '^RAM: 64MB$'
t_stdout_like '^  0x000000000000-0x000003ffffff  64MB  0x[0-9a-f]+  0x0  anonymous, private$'
t_stdout_like '^  0x0000d0000000-0x0000ffffffff$'
t_stdout_like '^  0x0000fec10000-0x0000fec1000f  vmgenid, GSI 13$'
t_stdout_like '^  0x03f8-0x03ff  serial, GSI 4$'
t_run "$LKVM" debug d --memmap --json
t_status 0
t_json '.ram_bytes == 67108864 and .gap.start == "0xd0000000"'
t_json '.slots | length == 1 and .[0].start == "0x0" and .[0].size_bytes == 67108864'
t_json '[.ports[] | select(.start == "0x3f8" and .gsi == 4)] | length == 1'
t_json '[.e820_map[] | select(.type == "RAM")] | length == 2'
host=$(jq -r '.slots[0].host' "$T_TMP/stdout")

# Real mode: paging is off, so an address is its own physical one.
t_run "$LKVM" debug d --translate 0x12345
t_status 0
t_stdout_like "^  physical 0+12345, no paging, host 0x$(printf %x $((host + 0x12345)))\$"
t_run "$LKVM" debug d --translate d0000000
t_status 0
t_stdout_like '^  physical 0+d0000000, no paging, not RAM$'
t_run "$LKVM" stop d
ended "$pid" 0 d

start w hello --rng --virtio-transport mmio
said w .
t_run "$LKVM" debug w --memmap
t_stdout_like '^  0x0000e1000000-0x0000e1000fff  rng0, GSI 16$'
t_run "$LKVM" stop w
ended "$pid" 0 w

# Windows into shared folders: slots, as large as RAM
start x hello --virtio-transport mmio --fs "$T_TMP,a,dax" --fs "$T_TMP,b" --fs "$T_TMP,c,ro,dax"
said x .
t_run "$LKVM" debug x --memmap
t_stdout_like '^  0x000100000000-0x000103ffffff  64MB  0x[0-9a-f]+  0x0  fs0$'
t_stdout_like '^  0x000104000000-0x000107ffffff  64MB  0x[0-9a-f]+  0x2  fs2, read-only$'
t_stdout_like '^  0x000100000000-0x[0-9a-f]+  virtio window$'
t_is 'only those' "$(grep -c '64MB  0x' "$T_TMP/stdout")" 3
t_run "$LKVM" stop x
ended "$pid" 0 x

start n nmi
said n R
t_run "$LKVM" debug n --nmi 0
t_status 0
t_ok "the guest got the NMI" said n N
t_run "$LKVM" stop n
ended "$pid" 0 n

start e echo
t_run "$LKVM" debug e --sysrq c
t_status 0
t_ok "the guest got a break and the character" said e c
t_run "$LKVM" stop e
ended "$pid" 0 e

# ---- bad clients of a real guest; Debian's perl-base is always there ----

cat >"$T_TMP/client.pl" <<'END'
use Socket;
my ($path, $kind) = @ARGV;
$SIG{PIPE} = "IGNORE";
socket(S, AF_UNIX, SOCK_SEQPACKET, 0) && connect(S, sockaddr_un($path)) or die "$!\n";
if ($kind eq "silent") {
	sleep 600;
} elsif ($kind eq "garbage") {
	for (1 .. 50) {
		send(S, join("", map { chr rand 256 } 1 .. rand 200), 0) or last;
	}
} else {
	send(S, pack("LSSLL", 0x4d564b4c, 1, 6, 4, 0), 0) or die "$!\n";
}
END

client()
{
	perl "$T_TMP/client.pl" "$LKVM_DIR/$1.sock" "$2"
}

start f halt
silent=()
for _ in 1 2 3; do
	perl "$T_TMP/client.pl" "$LKVM_DIR/f.sock" silent &
	silent+=($!)
done
for _ in 1 2 3 4 5; do
	t_ok "a client sends garbage" client f garbage
	t_ok "a client leaves before its answer" client f leave
done
for i in 1 2 3 4; do
	"$LKVM" stat f >"$T_TMP/parallel.$i" &
	clients[i]=$!
done
for i in 1 2 3 4; do
	wait "${clients[$i]}"
	t_report $? "client $i of 4 at once is answered"
	t_ok "client $i of 4 at once has the whole answer" grep -q '^   0' "$T_TMP/parallel.$i"
done
t_run "$LKVM" stop f
t_status 0
ended "$pid" 0 f
kill "${silent[@]}" 2>/dev/null
wait "${silent[@]}" 2>/dev/null

# ---- 50 at once ----

pids=()
for i in $(seq 50); do
	"$LKVM" run --name "many-$i" -m 64 -c 1 -k "$T_TMP/halt.bin" >/dev/null 2>>"$T_TMP/many.err" </dev/null &
	pids+=($!)
done
all_there()
{
	[ "$(find "$LKVM_DIR" -name 'many-*.sock' | wc -l)" -eq 50 ]
}
t_ok "50 guests start at once" until_true 60 all_there
t_run "$LKVM" list --json
t_status 0
t_json 'length == 50 and all(.state == "running") and (map(.name) | unique | length) == 50'
t_json '(map(.pid) | unique | length) == 50'
t_run "$LKVM" pause --all
t_is "all 50 are paused" "$(grep -c paused "$T_TMP/stdout")" 50
t_run "$LKVM" stop --all
t_status 0
t_is "all 50 are stopped" "$(grep -c stopped "$T_TMP/stdout")" 50
bad=0
for pid in "${pids[@]}"; do
	wait "$pid" || bad=$((bad + 1))
done
t_is "none of the 50 has failed" "$bad" 0
t_is "they had nothing to complain of" \
	"$(grep -vE 'taken as a flat binary$|ended: by `lkvm stop`$' "$T_TMP/many.err")" ""
t_is "the folder is empty" "$(ls -A "$LKVM_DIR")" ""

# ---- stopped lkvms (SIGSTOP, a debugger): nobody waits for them, and stop --kill ends them ----

start live halt
live=$pid
stopped=()
for i in 1 2 3; do
	start "stop-$i" halt
	stopped+=("$pid")
	kill -STOP "$pid"
done
# within SECONDS NAME CMD...: one stopped lkvm after another would take 10 s each
within()
{
	local limit=$1 name=$2 begin=$SECONDS
	shift 2
	t_run "$@"
	t_ok "$name: took $((SECONDS - begin)) s" test $((SECONDS - begin)) -le "$limit"
}
within 5 "list" "$LKVM" list
t_status 0
t_stdout_like "^live +$live running +"
for i in 1 2 3; do
	t_stdout_like "^stop-$i +${stopped[i - 1]} stopped +- +- +-\$"
	t_stderr_like "^lkvm: guest 'stop-$i': process ${stopped[i - 1]} is stopped \(kill -CONT ${stopped[i - 1]}\)\$"
done
within 5 "list --json" "$LKVM" list --json
t_json 'map(.state) == ["running", "stopped", "stopped", "stopped"]'
within 3 "list --quiet" "$LKVM" list --quiet
t_stdout_is "live
stop-1
stop-2
stop-3"
t_stderr_is ''
# Somebody waits with a finger on the key.
t_run bash -c '. "$1" && eval "$("$0" help --completion=bash)"
	COMP_WORDS=("$0" stop "") COMP_CWORD=2 COMP_LINE="$0 stop " COMP_POINT=${#COMP_LINE}
	begin=${EPOCHREALTIME/./}
	_lkvm
	echo "${COMPREPLY[*]}: $(((${EPOCHREALTIME/./} - begin) / 2000000))"' \
	"$LKVM" "${0%/*}/../../Documentation/lkvm-completion.bash"
t_is "TAB behind 'lkvm stop', in less than two seconds" "$(t_stdout)" "live stop-1 stop-2 stop-3: 0"
within 5 "pause" "$LKVM" pause 'stop-*'
t_status 1
within 5 "stat --all" "$LKVM" stat --all --json
t_status 1
t_json 'map(.name) == ["live"]'
within 5 "debug" "$LKVM" debug stop-1
t_status 1
t_stderr_is "lkvm: guest 'stop-1': process ${stopped[0]} is stopped (kill -CONT ${stopped[0]})"
within 5 "stop" "$LKVM" stop stop-3
t_status 1
t_stderr_is "lkvm: guest 'stop-3': process ${stopped[2]} is stopped (kill -CONT ${stopped[2]})"
kill -CONT "${stopped[2]}" # it was asked while it was stopped
ended "${stopped[2]}" 0 stop-3
within 10 "stop --all --kill" "$LKVM" stop --all --kill
t_status 0
t_is "$t_command: standard output" "$(sort "$T_TMP/stdout")" "lkvm: guest 'live' stopped
lkvm: guest 'stop-1' killed
lkvm: guest 'stop-2' killed"
ended "$live" 0 live
ended "${stopped[0]}" 137 stop-1 2>/dev/null
ended "${stopped[1]}" 137 stop-2 2>/dev/null
t_is "nothing is left in the folder" "$(ls -A "$LKVM_DIR")" ""

# ---- names ----

start build-1 halt
b1=$pid
start build-2 halt
b2=$pid
start other halt
other=$pid
t_run "$LKVM" list --quiet 'build-*'
t_stdout_is "build-1
build-2"
t_run "$LKVM" list nobody
t_status 0
t_is "list of nobody: lines" "$(wc -l <"$T_TMP/stdout")" 1
t_run "$LKVM" pause 'b*-[12]'
t_status 0
t_stdout_is "lkvm: guest 'build-1' paused
lkvm: guest 'build-2' paused"
t_run "$LKVM" list --json 'build-?' other
t_json 'map(.state) == ["paused", "paused", "running"]'
t_run "$LKVM" resume --all
t_status 0
t_fails 1 "no guest named 'othr' is running, did you mean 'other'?" "$LKVM" stop othr
t_fails 1 "no guest named 'othr' is running, did you mean 'other'?" "$LKVM" stat othr
t_fails 1 "no guest named 'othr' is running, did you mean 'other'?" "$LKVM" debug othr
t_fails 1 "no guest matches 'x*'" "$LKVM" stop 'x*'
t_fails 125 "debug: give one NAME, 'build-*' is 2 guests" "$LKVM" debug 'build-*'
t_run "$LKVM" stat --all
t_is "stat --all shows all three" "$(grep -c '^name:' "$T_TMP/stdout")" 3
t_run "$LKVM" stat --json 'build-*'
t_json 'map(.name) == ["build-1", "build-2"]'
t_run "$LKVM" debug other --regs --json
t_status 0
t_json 'length == 1 and .[0].id == 0 and (.[0].rip | startswith("0x")) and .[0].cs.base == "0x10000"'
t_fails 125 "debug: --json is for --memmap, --clock, --regs or --backtrace, one of them" "$LKVM" debug other --nmi 0 --json
t_run "$LKVM" stop 'build-*' other other
t_status 0
ended "$b1" 0 build-1
ended "$b2" 0 build-2
ended "$other" 0 other

# ---- without a socket ----

# The time-out is what ends it here.
LKVM_DIR=/nodir/at/all t_fails 125 "make control folder '/nodir/at/all' (LKVM_DIR names another): No such file or directory" \
	"$LKVM" run -m 64 -c 1 -k "$T_TMP/halt.bin" --timeout 30
LKVM_DIR=/nodir/at/all t_run "$LKVM" run --no-socket --name hidden -m 64 -c 1 -k "$T_TMP/halt.bin" --timeout 1
t_status 124

# ---- other users' folders: what root meets there ----

if [ "$(id -u)" -ne 0 ]; then
	t_skip "folders of other users" "only root can make them"
	t_done
fi
nobody=(setpriv --reuid 65534 --regid 65534 --clear-groups)
foreign=$T_TMP/foreign
chmod 755 "$T_TMP"
mkdir -m 700 "$foreign"
start mine halt
mine=$pid
ln -s "$LKVM_DIR/mine.sock" "$foreign/link.sock"
ln "$LKVM_DIR/mine.sock" "$foreign/hard.sock"
chown -hR 65534:65534 "$foreign/link.sock" "$foreign"
LKVM_DIR=$foreign t_fails 1 "guest 'hard': the process behind its socket does not belong to the owner of the control folder" \
	"$LKVM" stop --all
LKVM_DIR=$foreign t_fails 1 "no guest named 'link' is running" "$LKVM" stop link
t_run "$LKVM" list --quiet
t_stdout_is mine
rm "$foreign/hard.sock"

# A server that says what a terminal would act upon.
cat >"$T_TMP/server.pl" <<'END'
use Socket;
socket(S, AF_UNIX, SOCK_SEQPACKET, 0) && bind(S, sockaddr_un($ARGV[0])) && listen(S, 8) or die "$!\n";
my $text = "a\033]0;evil\007\302\2332J\342\200\256b\n";
while (accept(C, S)) {
	while (sysread(C, my $request, 70000)) {
		syswrite(C, pack("LlL", 0x4d564b4c, 0, length $text) . $text);
	}
}
END
"${nobody[@]}" perl "$T_TMP/server.pl" "$foreign/evil.sock" &
evil=$!
until_true 30 test -S "$foreign/evil.sock"
masked='a?]0;evil??2J?b'
LKVM_DIR=$foreign t_run "$LKVM" stat evil
t_status 0
t_stdout_is "$masked"
LKVM_DIR=$foreign t_run "$LKVM" stat --json --all
t_stdout_is "[
$masked
]"
LKVM_DIR=$foreign t_run "$LKVM" list
t_stdout_like '^evil +[0-9]+ unresponsive'
t_is 'no control character comes out' "$(LC_ALL=C grep -c '[^ -~]' "$T_TMP/stdout" "$T_TMP/stderr" | paste -sd' ')" \
	"$T_TMP/stdout:0 $T_TMP/stderr:0"
LKVM_DIR=$foreign t_run "$LKVM" debug --memmap evil
t_is 'nor with debug' "$(LC_ALL=C grep -c '[^ -~]' "$T_TMP/stdout" "$T_TMP/stderr" | paste -sd' ')" \
	"$T_TMP/stdout:0 $T_TMP/stderr:0"
kill "$evil"
wait "$evil" 2>/dev/null

LKVM_DIR=$foreign t_fails 125 "control folder '$foreign' belongs to user 65534, not to user 0: set LKVM_DIR to a folder of your own, or run with --no-socket" \
	"$LKVM" run -m 64 -c 1 -k "$T_TMP/halt.bin" --timeout 30
t_run "$LKVM" stop mine
ended "$mine" 0 mine

# Somebody else was first in /tmp.
if mkdir -m 700 /tmp/lkvm-65534 2>/dev/null; then
	t_fails 1 "control folder '/tmp/lkvm-65534' belongs to user 0, not to user 65534: set XDG_RUNTIME_DIR or LKVM_DIR to a folder of your own" \
		env -u LKVM_DIR -u XDG_RUNTIME_DIR "${nobody[@]}" "$LKVM" list
	rmdir /tmp/lkvm-65534
fi
# ---- a guest with a command; its kernel never starts it ----

wide=$'\303\244' # two bytes, which are not parted
"$LKVM" run --name command -m 64 -c 1 -k "$GUESTS/serial-poll.pvh" -- echo 'a  b' $'\e[1mred' '' \
	"$(printf "$wide%.0s" {1..50})" >/dev/null 2>&1 </dev/null &
pid=$!
until_true 30 test -S "$LKVM_DIR/command.sock"
t_run "$LKVM" list command
t_stdout_like '^command .* 1 echo a  b \?\[1mred  ('$wide'){20}\.\.\.$'
t_run "$LKVM" list --json command
t_json '.[0].command == ["echo", "a  b", "\u001b[1mred", "", ("\u00e4" * 50)]'
t_fails 1 "guest 'command' has not booted yet" "$LKVM" exec command -- true
t_run "$LKVM" debug --regs command
t_status 0
t_run "$LKVM" stop command
ended $pid 122 command

# ---- lkvm run --detach ----

# of PID: where its standard streams lead
streams()
{
	readlink "/proc/$1/fd/0" "/proc/$1/fd/1" "/proc/$1/fd/2" | tr '\n' ' '
}

detached()
{
	t_run "$LKVM" run --detach --name d -m 64 -c 1 -k "$T_TMP/spin.bin" "$@"
	t_status 0
	t_stdout_is d
	pid=$("$LKVM" list --json | jq '.[] | select(.name == "d").pid')
}

detached
t_is "a detached guest's standard streams" "$(streams "$pid")" '/dev/null /dev/null /dev/null '
t_is "its session" "$(ps -o sid= -p "$pid" | tr -d ' ')" "$pid"
t_is "its parent's death is no signal any more" "$(ps -o ppid= -p "$pid" | tr -d ' ' | grep -cx "$$")" 0
t_fails 125 "a guest named 'd' is running already" "$LKVM" run --detach --name d -m 64 -c 1 -k "$T_TMP/spin.bin"
t_run "$LKVM" stop d
t_status 0
no_socket d
detached --result "$T_TMP/detached.json" --timeout 1
until_true 30 test -s "$T_TMP/detached.json"
t_is "its result" "$(jq -r .reason "$T_TMP/detached.json")" timeout
no_socket d
t_run "$LKVM" run --detach -m 64 -c 1 -k "$T_TMP/none.bin"
t_status 125
t_stdout_is ''
t_stderr_like "'$T_TMP/none.bin': No such file"
t_run "$LKVM" run --detach --help
t_status 0
t_stdout_like '^Usage: lkvm run'
for option in --result --kernel-log; do
	t_run "$LKVM" run --detach -m 64 -c 1 -k "$T_TMP/spin.bin" $option -
	t_status 125
	t_stderr_is "lkvm: --detach leaves the guest no standard output: $option must be a file"
done

# Who waits for it goes away before it runs: so does the guest. Its kernel comes by a pipe that says nothing.
mkfifo "$T_TMP/slow"
"$LKVM" run --detach --name slow -m 64 -c 1 -k "$T_TMP/slow" </dev/null >"$T_TMP/slow.out" 2>&1 &
pid=$!
exec 9>"$T_TMP/slow"
child=$(pgrep -P $pid)
t_ok "there is a guest to be" kill -0 "$child"
kill -9 $pid
t_ok "it ends with who waits for it" until_true 10 bash -c "! kill -0 $child 2>/dev/null"
exec 9>&-

t_done
