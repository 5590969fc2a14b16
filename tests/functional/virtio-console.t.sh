#!/usr/bin/env bash
# The virtio console: on a terminal and on pipes, over both transports, with readers that are slow,
# stopped, or gone; pseudo terminals of --tty.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"
: "${PTY:?is the program that runs a command on a terminal}"

hvc=("$LKVM" run -c 1 -m 128 --debug-exit --name test -k "$GUESTS/hvc.mb" --console virtio)
cr=$'\r'

# lines N: what hvc.mb prints with flood=N
lines()
{
	seq -f '%062.0f' 0 $(($1 - 1)) | sed "s/\$/$cr/"
}

for transport in pci mmio; do
	printf 'typed q' >"$T_TMP/typed"
	t_run "${hvc[@]}" --virtio-transport $transport -p flood=500 <"$T_TMP/typed"
	t_status 1
	t_is "$transport: all of it" "$(t_stdout)" "0 columns, 0 rows
$(lines 500)
>typed "
done

# ---- on a terminal, which changes its size ----

# shellcheck disable=SC2016
t_run "$PTY" expect '90 columns, 30 rows' expect '>' raw send a expect a \
	size 133x30 send b expect '133 columns, 30 rows' expect b send q -- \
	sh -c 'stty cols 90 rows 30 && exec "$@"' - "${hvc[@]}" -p flood=0
t_command='a terminal that changes its size'
t_status 1
t_run "$PTY" expect '>' raw send $'\001a\003' expect $'\001\003' send $'\001x' -- \
	"${hvc[@]}" -p flood=0
t_command='keys'
t_status 0

# ---- readers ----

# reader NAME LINES COMMAND: standard output of that many lines goes to COMMAND; q is typed at once
reader()
{
	local name=$1 lines=$2 reader=$3
	rm -f "$T_TMP/out"
	printf q >"$T_TMP/typed"
	# shellcheck disable=SC2016
	OUT=$T_TMP/out SLOW=$T_TMP/slow t_run bash -o pipefail -c "\"\$@\" | { $reader; }" - "${hvc[@]}" \
		-p "flood=$lines" <"$T_TMP/typed"
	t_command=$name
	t_status 1
}

# A guest that waits for him loses nothing: 64 KB every 0.3 s is slower than it can print. One process: in an emulated
# host two take more than the second for which a guest waits.
cat >"$T_TMP/slow" <<'END'
for my $turn (1 .. 8) {
	my ($left, $n) = (65536);
	while ($left and $n = sysread(STDIN, my $piece, $left)) {
		$left -= $n;
		syswrite(STDOUT, $piece);
	}
	select(undef, undef, undef, 0.3);
}
while (sysread(STDIN, my $piece, 65536)) {
	syswrite(STDOUT, $piece);
}
END
# shellcheck disable=SC2016
reader 'a slow reader' 40000 'perl "$SLOW" >"$OUT"'
{ echo '0 columns, 0 rows'; lines 40000; printf '>'; } >"$T_TMP/wanted"
t_ok 'a slow reader: all of it' cmp "$T_TMP/wanted" "$T_TMP/out"
reader 'a reader that leaves' 25000 'head -c 100 >/dev/null'

console_bytes()
{
	"$LKVM" stat --json test 2>/dev/null | jq .console_bytes
}

# A reader that reads nothing: the guest goes on after a second, and a note tells what is missing.
mkfifo "$T_TMP/in" "$T_TMP/late"
"${hvc[@]}" -p flood=25000 <"$T_TMP/in" >"$T_TMP/late" 2>"$T_TMP/stderr" &
pid=$!
exec 4>"$T_TMP/in" 3<"$T_TMP/late"
bytes=-1
for ((i = 0; i < 30; i++)); do
	before=$bytes bytes=$(console_bytes)
	[ -n "$bytes" ] && [ "$bytes" = "$before" ] && break
	sleep 2.5
done
t_ok "a stopped reader: a megabyte is kept ($bytes bytes)" test "$bytes" -ge 1000000
cat <&3 >"$T_TMP/out" &
cat=$!
for ((i = 0; i < 200; i++)); do
	grep -q 'bytes of output dropped\]' "$T_TMP/out" && break
	sleep 0.1
done
printf 'hello q' >&4
wait $pid
t_rc=$?
t_command='a stopped reader'
t_status 1
exec 4>&- 3<&-
wait $cat
note=$(grep -a 'bytes of output dropped\]' "$T_TMP/out")
dropped=$(grep -ao '[0-9]* bytes of' <<<"$note" | cut -d' ' -f1)
kept=$(($(wc -c <"$T_TMP/out") - $(wc -c <<<"$note") - 2 - 6)) # CR LF before it, and what was typed
t_is 'a stopped reader: the note has the right number' $((kept + dropped)) $((18 + 25000 * 64 + 1))
t_is 'a stopped reader: what comes before it is not changed' \
	"$(head -c 1000000 "$T_TMP/out" | md5sum)" \
	"$({ echo '0 columns, 0 rows'; lines 25000; } | head -c 1000000 | md5sum)"
t_is 'a stopped reader: what comes after it, too' "$(tail -c 6 "$T_TMP/out")" 'hello '

# ---- pseudo terminals ----

t_run "${hvc[@]}" -p flood=0 --tty 1 --tty 3 < <(printf q)
t_status 1
t_stderr_like "^lkvm: the guest's hvc1 is /dev/pts/[0-9]+$"
t_stderr_like "^lkvm: the guest's hvc3 is /dev/pts/[0-9]+$"
t_is '--tty: no more than that' "$(t_stderr | wc -l)" 2
g_run hello.bin --tty 2
t_status 0
t_stderr_like "^lkvm: the guest's ttyS2 is /dev/pts/[0-9]+$"
t_done
