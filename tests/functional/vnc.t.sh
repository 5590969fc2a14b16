#!/usr/bin/env bash
# The screen for VNC viewers (--vnc): what the guest shows is what they see, and what they do is what it hears.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

here=$(cd "${0%/*}" && pwd)
cd "$T_TMP" || exit
trap '"$LKVM" stop --all >/dev/null 2>&1; rm -rf "$T_TMP"' EXIT

# viewer ADDRESS WORD...: its lines
viewer()
{
	timeout 120 python3 "$here/vnc.py" "$@" </dev/null 2>&1
}

# start NAME [OPTION]...: the guest of that name; its console is NAME.in and NAME.out
start()
{
	local name=$1
	shift
	mkfifo "$name.in"
	"$LKVM" run --debug-exit --name "$name" -c 1 -m 128 -k "$GUESTS/screen.mb" "$@" <"$name.in" >"$name.out" 2>"$name.err" &
	pid=$!
	exec 4>"$name.in"
	says "$name" ready
}

# says NAME TEXT
says()
{
	until_true grep -q "$2" "$1.out"
}

# heard NAME k|t: events of its keyboard, or its tablet
heard()
{
	sed -n "s/^$2 //p" "$1.out" | tr '\n' ','
}

# ---- a UNIX socket ----

start shows --vnc unix:socket
t_is "a viewer sees what is there" "$(viewer unix:socket show)" "security 1
200x100 shows
200x100 frame ffffff inside good"
viewer unix:socket show wait:00ff00 close >changes &
v=$!
until_true grep -q frame changes
printf c >&4
wait $v
# The frame of 200x100, and the inside for who takes both as one
t_like "and then what changes" "$(tail -1 changes)" '^came (596|20000)$'
t_like "lkvm list tells where" "$("$LKVM" list)" '  vnc unix:socket$'
t_is "so does its JSON" "$("$LKVM" list --json | jq -r '.[0].vnc')" unix:socket
t_like "lkvm stat counts viewers" "$("$LKVM" stat shows)" '^VNC: *unix:socket, 0 viewers$'
t_is "so does its JSON" "$("$LKVM" stat --json shows | jq -c .vnc)" '{"address":"unix:socket","viewers":0}'

# Nobody wakes up while nothing changes: not the viewer's thread, nor those of lkvm and its devices.
wakes()
{
	local task
	for task in /proc/"$pid"/task/*; do
		grep -q '^vcpu/' "$task/comm" || sed -n 's/^voluntary_ctxt_switches:[^0-9]*//p' "$task/status"
	done | awk '{ n += $1 } END { print n }'
}
mkfifo idle
timeout 60 python3 "$here/vnc.py" unix:socket show <idle >idles 2>&1 &
v=$!
exec 5>idle
until_true grep -q frame idles
sleep 0.5
before=$(wakes)
sleep 1
t_is "an idle screen wakes nobody" "$(($(wakes) - before))" 0
exec 5>&-
wait $v

printf i >&4
says shows listens
t_is "keys and pointer" "$(viewer unix:socket raw key:7a,15 key:41,0 point:1,0,99 point:0,0,99 point:8,199,0 point:0,199,0 \
	key:e4,28 close)" "security 1
200x100 shows
scancodes are welcome"
# Who leaves with a key down
viewer unix:socket down:ffe3 down:ffe1 close >leaves
viewer unix:socket key:ff1b,0 close >escapes
says shows heard
# 'z' of a German, whose scancode is that of Y; 'A' by its keysym; clicks and the wheel; a German's umlaut
t_is "what the guest has heard" "$(heard shows k)" "$(tr '\n' , <<-END
	1 21 1
	1 21 0
	1 30 1
	1 30 0
	1 40 1
	1 40 0
	1 29 1
	1 42 1
	1 29 0
	1 42 0
	1 1 1
	1 1 0
END
)"
t_is "and where it was pointed to" "$(heard shows t)" \
	"3 0 81,3 1 32604,1 272 1,3 0 81,3 1 32604,1 272 0,3 0 32686,3 1 163,2 8 1,3 0 32686,3 1 163,"

# The guest hears of it; it shows what it likes.
asked_for()
{
	printf d >&4
	until_true grep -q "^wants" shows.out
	grep -q "^wants $1$" shows.out
}
viewer unix:socket size:300,200 close >wishes
t_ok "a size that a viewer wants" until_true asked_for 300x200
viewer unix:socket size:1,65535 close >wishes
t_ok "one that is none" until_true asked_for 64x4095
printf q >&4
wait "$pid"
t_is "the guest ends well" $? 1
exec 4>&-
t_ok "the socket is gone" test ! -e socket

# ---- TCP ----

start first --vnc :auto
first=$("$LKVM" list --json | jq -r '.[0].vnc')
t_like "a port that is free" "$first" '^127\.0\.0\.1:59[0-9][0-9]$'
t_like "a viewer over TCP" "$(viewer "$first" show)" 'frame ffffff inside good'
if vncsnapshot -quiet "127.0.0.1:$((${first#*:} - 5900))" shot.jpg >/dev/null 2>&1; then
	size=$(python3 -c '
import struct
d = open("shot.jpg", "rb").read()
i = 2
while d[i + 1] not in (0xc0, 0xc1, 0xc2):
    i += 2 + struct.unpack(">H", d[i + 2:i + 4])[0]
print(*struct.unpack(">HH", d[i + 5:i + 9]))')
fi
t_is "vncsnapshot sees it, too" "${size-none}" "100 200"
t_run "$LKVM" run -k "$GUESTS/screen.mb" --vnc ":$((${first#*:} - 5900))"
t_status 125
t_is "a port in use" "$(t_stderr)" "lkvm: VNC: cannot listen on $first: Address already in use"
start second --vnc :auto,password-file=<(echo password)
second=$("$LKVM" list --json second | jq -r '.[] | select(.name == "second").vnc')
t_ok "another port for another guest" test "$first" != "$second"
t_is "who does not know the password" "$(viewer "$second" show)" "security 2
result 1"
printf '\xdb\xd8\x3c\xfd\x72\x7a\x14\x58' >passwd
rm -f shot.jpg
vncsnapshot -quiet -passwd passwd "127.0.0.1:$((${second#*:} - 5900))" shot.jpg >/dev/null 2>&1
t_ok "who knows it" test -s shot.jpg
"$LKVM" stop --all >/dev/null
wait

# A viewer who never reads does not hold up the end.
start slow --vnc unix:slow
mkfifo hold
timeout 60 python3 -c '
import socket, struct, sys
s = socket.socket(socket.AF_UNIX)
s.connect("slow")
s.sendall(b"RFB 003.008\n\1\1" + struct.pack(">BBHHHH", 3, 0, 0, 0, 200, 100) * 1000)
print("asked", flush=True)
sys.stdin.read()' <hold >asked &
v=$!
exec 5>hold
until_true grep -q asked asked
printf q >&4
wait "$pid"
t_is "the guest ends while a viewer does not read" $? 1
exec 4>&- 5>&-
wait $v

for bad in '' 1 :x :-1 unix: :1,nothing :1,password-file=/nowhere; do
	t_run "$LKVM" run -k "$GUESTS/screen.mb" --vnc "$bad"
	t_command="--vnc '$bad'"
	t_status 125
done
t_done
