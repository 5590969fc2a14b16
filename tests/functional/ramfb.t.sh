#!/usr/bin/env bash
# What firmware shows (ramfb), pixel by pixel, in pictures and to a VNC viewer: a program of our own (tests/guest/ramfb.c), also a
# hostile one. SeaBIOS's text is in tests/testbed/firmware.sh.
# shellcheck source=tests/functional/screen.bash
. "${0%/*}/screen.bash"

rom=$GUESTS/ramfb.rom bios=/usr/share/seabios/bios-256k.bin
white='200x100 frame ffffff inside good' green='200x100 frame 00ff00 inside good'
blue='200x100 frame 0000ff inside good' black='200x100 frame 000000 inside bad'

# does NAME CHARACTER WORDS: tell the guest to do something, of which it says so when it is done
does()
{
	printf %s "$2" >&4
	says "$1" "$3"
}

# shows TITLE PICTURE: guest $name does
name=one n=0
shows()
{
	n=$((n + 1))
	shot "$name" "$n.png"
	is_on "$1" "$n.png" "$2"
}

is_off()
{
	shot "$name" off.png
	t_command=$1
	t_status 1
	t_like "$1: the screen is off" "$(t_stderr)" 'shows nothing on output 0'
}

has_seen() { [ "$(wc -l <viewer.out)" -ge "$1" ]; }

# sees TITLE N LINE: the viewer's N-th line, the first two of which tell how it was met
sees()
{
	until_true has_seen "$2"
	t_like "a viewer sees $1" "$(sed -n "$2p" viewer.out)" "^$3$"
}

start one -c 1 -m 128 --firmware "$rom" --gpu=200x100 --vnc unix:one.vnc
says one ready
timeout 300 python3 "${t_pictures%/*}/vnc.py" unix:one.vnc show wait:00ff00 wait:0000ff wait:000000 wait:00ff00 close \
	</dev/null >viewer.out 2>&1 &
viewer=$!
sees "what firmware shows" 3 "$white"
shows "what firmware shows" "$white"
does one c drawn
sees "what it has changed" 4 'came [1-9][0-9]*'
shows "what it has changed" "$green"
t_like "lkvm stat tells its size" "$("$LKVM" stat one)" "screen: *output 0 shows 200x100"
does one m moved
sees "other memory" 5 'came [1-9][0-9]*'
shows "other memory, with lines apart" "$blue"
does one d driven
sees "what the driver shows" 6 'came [1-9][0-9]*'
shows "what the driver of the virtio-gpu shows instead" "$black"
does one s shown
shows "still what the driver shows" "$black"
does one r reset
sees "the firmware's again" 7 'came [1-9][0-9]*'
wait "$viewer"
shows "the firmware's again, as it is now, once the driver is gone" "$green"
does one o off
is_off "turned off"
does one s shown
shows "turned on again" "$green"
does one b bad
is_off "what cannot be shown"
t_like "the user is told" "$(cat one.err)" "warning: ramfb: the guest's frame buffer is not shown: its lines overlap"
t_ok "but not each time" test "$(grep -c 'is not shown' one.err)" -le 5
# Somebody looks while all changes.
printf w >&4
until grep -q still one.out || ! kill -0 "$pid" 2>/dev/null; do
	"$LKVM" screenshot one any.png 2>/dev/null
done
shows "after many changes" "$green"
t_run "$LKVM" snapshot one saved --stop
t_status 0
wait "$pid"
exec 4>&-
start again --restore saved
until_true test -S "$LKVM_DIR/again.sock"
until_true "$LKVM" screenshot again any.png 2>/dev/null
name=again
shows "what was shown, after a restore" "$green"
does again m moved
shows "what it shows then" "$blue"
printf q >&4
wait "$pid"
t_is "the guest ends well" "$?" 1
exec 4>&-
t_run "$LKVM" run --debug-exit -m 128 -c 1 --firmware "$rom"
t_command="without a screen"
t_status 1
t_stdout_like '^no file$'

# ---- the option ROM by which SeaBIOS shows its text ----

printf MZ >none.bin
truncate -s 131073 large.bin
for case in 'missing: No such file or directory' '/dev/null: not a regular file' 'none.bin: it is no option ROM' \
	'large.bin: it is larger than 128 KiB'; do
	t_fails 125 "could not load option ROM '${case%%:*}': ${case#*: }" \
		"$LKVM" run -m 64 -c 1 --firmware "$bios" "--gpu=rom=${case%%:*}"
done
t_fails 125 "option '--gpu': rom is for who boots by --firmware" "$LKVM" run -k "$GUESTS/reset.bin" --gpu=rom=none.bin
t_done
