#!/usr/bin/env bash
# The tests of tests/testbed/viewer.sh, where KVM can run Linux; $GENERIC is a kernel of Debian.
tests="
viewer     TigerVNC's viewer under Xvfb: pixels, the pointer to the pixel, buttons, wheel, keys
panic      a kernel's last words, on the screen that it had from the beginning
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"

# found: the guest's picture on the X server's screen; $left and $top are where
found()
{
	local where
	where=$(python3 "$here/../functional/picture.py" drawn Xvfb_screen0 320x200)
	[[ $where == *at* ]] || return
	left=${where#*at } top=${where#*,} left=${left%,*}
}

not_found() { ! found; }
heard() { grep -qx "lkvm $1" viewer-hear.out; }

# The X server places the pointer with the first word, and only with the second has it moved. The viewer may tell nothing of
# what brings it into its window.
pointed()
{
	xdotool mousemove $((left + 99)) $((top + 49)) mousemove_relative 1 1
	heard "tablet 3 0 10291" && heard "tablet 3 1 8273"
}

test_viewer()
{
	local left top event
	expect "a guest" timeout "$per_guest" lkvm run --detach --name viewer -k "$GENERIC" -c 1 -m 512 --gpu=320x200 \
		--vnc unix:"$work/viewer.vnc" </dev/null >viewer.run 2>&1
	try viewer-modprobe 0 lkvm exec viewer -- modprobe -a virtio-gpu virtio_input evdev </dev/null
	wait_until "virtio-gpu's" in_guest viewer grep -qx virtio_gpudrmfb /sys/class/graphics/fb0/name
	# shellcheck disable=SC2016
	try viewer-bind 0 lkvm exec viewer -- sh -c 'for c in /sys/class/vtconsole/vtcon*/bind; do echo 0 >$c; done' </dev/null
	try viewer-draw 0 lkvm exec viewer -- python3 "$here/screen.py" draw </dev/null
	expect_text viewer-draw.out 320x200
	Xvfb -displayfd 7 -screen 0 800x600x24 -fbdir . -nolisten tcp 7>display >Xvfb.log 2>&1 &
	wait_until "the X server" test -s display
	DISPLAY=:$(cat display)
	export DISPLAY
	xtigervncviewer -SecurityTypes None -RemoteResize=0 -Shared -AutoSelect=0 -PreferredEncoding=ZRLE -NoJPEG \
		-PointerEventInterval=0 "$work/viewer.vnc" >xtigervncviewer.log 2>&1 &
	wait_until "the guest's picture on the X server's screen" found || return
	# Nobody manages windows there.
	try viewer-focus 0 xdotool search --name TigerVNC windowfocus
	lkvm exec viewer -- python3 "$here/screen.py" hear 1000 </dev/null >viewer-hear.out 2>&1 &
	wait_until "who listens" grep -qx "hears lkvm keyboard lkvm tablet" viewer-hear.out
	wait_until "the pointer's place" pointed
	xdotool click 1 click 4 key a
	for event in "tablet 1 272 1" "tablet 1 272 0" "tablet 2 8 1" "keyboard 1 30 1" "keyboard 1 30 0"; do
		wait_until "$event" heard "$event"
	done
	# What changes is seen.
	try viewer-text 0 lkvm exec viewer -- sh -c 'head -c 200000 /dev/zero >/dev/fb0' </dev/null
	wait_until "the change" not_found
	lkvm stop viewer >/dev/null
}

# shot MIN MAX: a picture of so many bytes; a black one has less than 1000
shot()
{
	lkvm screenshot panic panic.png && [ "$(wc -c <panic.png)" -ge "$1" ] && [ "$(wc -c <panic.png)" -le "$2" ]
}

test_panic()
{
	expect "a guest" timeout "$per_guest" lkvm run --detach --name panic -k "$GENERIC" -c 1 -m 512 --gpu=640x480 --gdb-on-panic \
		-p "console=tty0 console=ttyS0" </dev/null >panic.run 2>&1
	try panic-clear 0 lkvm exec panic -- sh -c 'printf "\033[2J\033[H" >/dev/tty0' </dev/null
	wait_until "nothing on the screen" shot 1 2000
	lkvm exec panic -- sh -c 'echo c >/proc/sysrq-trigger' </dev/null >panic-exec.out 2>&1 &
	wait_until "a screen full of text" shot 10000 100000
	lkvm stop panic >/dev/null
}

run_tests "$@"
rm -rf "$work"
