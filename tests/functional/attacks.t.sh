#!/usr/bin/env bash
# A guest that does all to keep its machine from ending (tests/guest/attacks.c), on every kind of disk,
# two of them on servers that have fallen silent: it is paused, resumed, asked and ended in time all the
# same.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

TIMEOUT_S=10
LIMIT_MS=2000 # for everything; what an emulated host needs to start a process is taken off

truncate -s 8G "$T_TMP/raw" "$T_TMP/ephemeral" "$T_TMP/served1" "$T_TMP/served2"
qemu-img create -q -f qcow2 "$T_TMP/qcow2" 8G

now_ms()
{
	echo $(($(date +%s%N) / 1000000))
}

# in_time NAME CMD [ARG]...: CMD succeeds within LIMIT_MS and what an `lkvm version` takes now
in_time()
{
	local name=$1 start middle end rc=0
	shift
	start=$(now_ms)
	"$LKVM" version >/dev/null
	middle=$(now_ms)
	"$@" >"$T_TMP/out" 2>&1 || rc=$?
	end=$(now_ms)
	[ $rc -eq 0 ] && [ $((end - middle)) -le $((LIMIT_MS + middle - start)) ]
	t_report $? "$t_what: $name in time" \
		"status $rc after $((end - middle)) ms ($((middle - start)) for nothing): $(cat "$T_TMP/out")"
}

servers=()

serve()
{
	qemu-nbd -f raw -k "$T_TMP/$1.sock" --persistent --fork --pid-file="$T_TMP/$1.pid" "$T_TMP/$1"
	servers+=("$(cat "$T_TMP/$1.pid")")
}

# stop_by HOW: the guest's end, as the user brings it about
stop_by()
{
	case $1 in
	stop) "$LKVM" stop test ;;
	signal) kill -TERM "$g_pid" ;;&
	*) timeout 60 tail --pid="$g_pid" -s 0.02 -f /dev/null ;;
	esac
}

# pause: it stands still, or we are told what does not: a silent server has what was sent to it
pause()
{
	local rc=0 text
	text=$("$LKVM" pause test 2>&1) || rc=$?
	[ "$rc" -eq 0 ] || [[ $rc -eq 1 && $text =~ "blk"[0-4]" still has requests in flight"$ ]] || {
		echo "$text"
		return "$rc"
	}
}

# ask: what a running guest is asked
ask()
{
	in_time stat "$LKVM" stat test
	in_time pause pause
	in_time resume "$LKVM" resume test
}

# attack WHAT HOW [OPTION]...
attack()
{
	local how=$2 packed=
	t_what=$1
	shift 2
	[[ $t_what != *packed* ]] || packed=,packed=on
	servers=()
	serve served1
	serve served2
	g_start attacks.mb --rng=off "$@" \
		-d "$T_TMP/raw,format=raw$packed" -d "$T_TMP/ephemeral,format=raw,ephemeral,queues=4$packed" \
		-d "$T_TMP/qcow2,format=qcow2$packed" \
		-d "nbd+unix:///?socket=$T_TMP/served1.sock$packed" \
		-d "nbd+unix:///?socket=$T_TMP/served2.sock$packed"
	started=$(now_ms) # at the latest
	kill -STOP "${servers[@]}"
	IFS= read -r -n 2 -t 60 <&3
	t_is "$t_what: it goes on behind servers that are silent" "$REPLY" ..
	if [ "$how" = timeout ]; then
		cat <&3 >"$T_TMP/output" &
		stop_by timeout
		elapsed=$(($(now_ms) - started))
		[ $elapsed -le $((TIMEOUT_S * 1000 + LIMIT_MS)) ]
		t_report $? "$t_what: end by --timeout in time" "after $elapsed ms"
		end
		return
	fi
	ask
	cat <&3 >"$T_TMP/output" &
	t_ok "$t_what: its own memory is little" awk '/^RssAnon/ { exit $2 > 32768 }' "/proc/$g_pid/status"
	in_time "end by $how" stop_by "$how"
	end
}

# end: the guest is gone, and has said nothing but dots
end()
{
	g_wait
	t_unlike "$t_what: the guest finds no fault" "$(cat "$T_TMP/output")" '[^.]'
	[ ${#servers[@]} -eq 0 ] || kill -KILL "${servers[@]}"
	rm -f "$T_TMP"/*.sock
}

attack 'PCI, split' stop
attack 'PCI, packed' timeout --timeout $TIMEOUT_S
attack 'MMIO, split' signal --virtio-transport mmio
attack 'MMIO, packed' stop --virtio-transport mmio

t_what='bus master, decoding and MSI-X by string instructions' servers=()
g_start attacks.mb --rng=off -d "$T_TMP/raw,format=raw,queues=16" -p string
ask
cat <&3 >"$T_TMP/output" &
in_time 'end by stop' stop_by stop
end
t_done
