#!/usr/bin/env bash
# The screen (--gpu): what a guest shows is what `lkvm screenshot` writes, pixel by pixel, also after a snapshot.
# shellcheck source=tests/functional/screen.bash
. "${0%/*}/screen.bash"

start shows -c 1 -m 128 -k "$GUESTS/screen.mb" --gpu
says shows ready
shot shows 1.png
t_status 0
is_on "what the guest shows" 1.png "200x100 frame ffffff inside good"
shot shows - 2>/dev/null
t_status 0
printf c >&4
says shows drawn
shot shows 2.png
is_on "what it has changed" 2.png "200x100 frame 00ff00 inside good"
t_like "lkvm stat tells its size" "$("$LKVM" stat shows)" "screen: *output 0 shows 200x100"
t_is "so does its JSON" "$("$LKVM" stat --json shows | jq -c .screen)" '[{"on":true,"width":200,"height":100}]'
shot shows 3.png --output 1
t_status 1
t_is "an output that there is not" "$(t_stderr)" "lkvm: guest 'shows' has no output 1"
shot shows /nowhere/3.png
t_status 1
t_is "a file that cannot be written" "$(t_stderr)" "lkvm: open '/nowhere/3.png': No such file or directory"
shot shows
t_status 125

# ---- keyboard and pointer ----

# done_as COMMAND... : it succeeds and says nothing
done_as()
{
	t_run "$LKVM" "$@"
	t_command=${*//$'\n'/\\n}
	t_status 0
	t_is "$t_command: it says nothing" "$(t_stderr)" ""
}

t_run "$LKVM" key shows a
t_status 1
t_is "keys before there is a driver" "$(t_stderr)" \
	"lkvm: guest 'shows' has no driver for its keyboard and pointer, or none yet (virtio_input)"
printf i >&4
says shows listens
done_as type shows 'aB
'
done_as key shows ctrl-alt-Del f12
done_as click shows 199 0
done_as click --button none shows 0 99
done_as click -b right -d shows 100 50
# Escape, with which the guest stops to listen, is of the other device.
clicked() { [ "$(grep -c '^t 1 273 0' shows.out)" = 2 ]; }
t_ok "a double click" until_true clicked
done_as key shows esc
says shows heard
# heard k|t: events of its keyboard, or of its tablet: they are devices of their own, and their order is none
heard()
{
	sed -n "/listens/,/heard/ { s/^$1 //p; }" shows.out | tr '\n' ','
}
t_is "what the guest has heard" "$(heard k)" "$(tr '\n' , <<-END
	1 30 1
	1 30 0
	1 42 1
	1 48 1
	1 48 0
	1 42 0
	1 28 1
	1 28 0
	1 29 1
	1 56 1
	1 111 1
	1 111 0
	1 56 0
	1 29 0
	1 88 1
	1 88 0
	1 1 1
	1 1 0
END
)"
t_is "and where it was pointed to" "$(heard t)" "$(tr '\n' , <<-END
	3 0 32686
	3 1 163
	1 272 1
	1 272 0
	3 0 81
	3 1 32604
	3 0 16465
	3 1 16547
	1 273 1
	1 273 0
	1 273 1
	1 273 0
END
)"
for outside in '200 0' '0 100'; do
	# shellcheck disable=SC2086
	t_run "$LKVM" click shows $outside
	t_status 1
	t_like "click $outside" "$(t_stderr)" "output 0 is not so large"
done
t_run "$LKVM" click shows 0 0 --output 1
t_is "a click on no output" "$(t_stderr)" "lkvm: guest 'shows' has no output 1"
t_run "$LKVM" click shows 0
t_status 125
for bad in 'key shows ctrl-nothing' 'key shows a-' 'key shows' 'click shows 0 -1' 'click shows x 1' 'type shows' \
	'type shows a b' 'click -b thumb shows 0 0' 'key shows a-b-c-d-e-f-g-h-i'; do
	# shellcheck disable=SC2086
	t_run "$LKVM" $bad
	t_command=$bad
	t_status 125
done
t_run "$LKVM" type shows $'\xc3'
t_is "what no key gives" "$(t_stderr)" "lkvm: type: no key of a US keyboard gives byte 0xc3 of the text"
# Its ring is full when nobody listens.
t_run "$LKVM" type --timeout 1 shows "$(printf '%1000s' | tr ' ' x)"
t_status 1
t_is "a guest that takes nothing" "$(t_stderr)" "lkvm: guest 'shows' does not take what is typed"

t_run "$LKVM" snapshot shows saved --stop
t_status 0
wait "$pid"
exec 4>&-
start again --restore saved
until_true test -S "$LKVM_DIR/again.sock"
until_true "$LKVM" screenshot again 4.png 2>/dev/null
is_on "what it shows after a restore" 4.png "200x100 frame 00ff00 inside good"
printf I >&4
says again listens
done_as key again x
done_as key again esc
says again heard
t_is "a restored guest listens on: what waited is gone" \
	"$(sed -n 's/^[kt] //p' again.out | grep -v ' 0$' | tr '\n' ',')" "1 45 1,1 1 1,"
printf o >&4
says again off
shot again 5.png
t_status 1
t_is "a screen that is off" "$(t_stderr)" \
	"lkvm: guest 'again' shows nothing on output 0: it has no driver for its screen, or none yet"
t_ok "no file is left then" test ! -e 5.png
printf q >&4
wait "$pid"
t_is "the guest ends well" "$?" 1
exec 4>&-
t_run "$LKVM" run --restore saved --gpu=outputs=2 --debug-exit
t_status 125
t_is "a machine with more screens" "$(t_stderr)" "lkvm: the machine in 'saved' has 1 screens, not 2 (--gpu)"

# ---- before there is a driver ----

black='200x100 frame 000000 inside bad'
start early -c 1 -m 128 -k "$GUESTS/framebuffer.mb" --gpu=200x100
says early ready
shot early 7.png
is_on "the frame buffer" 7.png "200x100 frame ffffff inside good"
printf c >&4
says early drawn
"$LKVM" snapshot early boot --stop
wait "$pid"
exec 4>&-
start later --restore boot
until_true test -S "$LKVM_DIR/later.sock"
until_true "$LKVM" screenshot later 8.png 2>/dev/null
is_on "after a restore" 8.png "200x100 frame 00ff00 inside good"
printf m >&4
says later moved
shot later 9.png
is_on "where the guest has moved it" 9.png "200x100 frame 0000ff inside good"
printf d >&4
says later driven
shot later 10.png
is_on "what the driver shows instead" 10.png "$black"
"$LKVM" snapshot later driven --stop
wait "$pid"
exec 4>&-
start last --restore driven
until_true test -S "$LKVM_DIR/last.sock"
until_true "$LKVM" screenshot last 11.png 2>/dev/null
is_on "that after a restore" 11.png "$black"
printf r >&4
says last reset
shot last 12.png
is_on "the frame buffer again, once the driver is gone" 12.png "200x100 frame 0000ff inside good"
printf q >&4
wait "$pid"
t_is "the guest ends well" "$?" 1
exec 4>&-
t_run "$LKVM" run --restore boot --gpu=200x101
t_status 125
t_is "a machine with another size" "$(t_stderr)" "lkvm: the machine in 'boot' has a screen of another size, not 200x101 (--gpu)"

start none -c 1 -m 64 -k "$GUESTS/echo.bin"
says none .
shot none 6.png
t_status 1
t_is "a guest without one" "$(t_stderr)" "lkvm: guest 'none' has no screen: it was started without --gpu"
t_run "$LKVM" key none a
t_is "no keyboard either" "$(t_stderr)" "lkvm: guest 'none' has no keyboard and no pointer: it was started without --gpu"
exec 4>&-
"$LKVM" stop none
wait "$pid"

for bad in 0x0 63x64 4096x64 64x64x64 outputs=0 outputs=17 nothing; do
	t_run "$LKVM" run -k "$GUESTS/screen.mb" "--gpu=$bad"
	t_command="--gpu=$bad"
	t_status 125
done
t_done
