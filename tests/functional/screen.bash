# shellcheck shell=bash
# For tests of the screen: guest.bash, guests that one talks with, and what their screen shows. The current folder is the
# test's own.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

t_pictures=$(cd "${BASH_SOURCE%/*}" && pwd)/picture.py
cd "$T_TMP" || exit
trap '"$LKVM" stop --all >/dev/null 2>&1; rm -rf "$T_TMP"' EXIT

# picture WORD FILE: as picture.py says
picture()
{
	python3 "$t_pictures" "$@"
}

# is_on NAME FILE PICTURE
is_on()
{
	t_is "$1" "$(picture frame "$2" 2>&1)" "$3"
}

# shot GUEST FILE [OPTION]...
shot()
{
	t_run "$LKVM" screenshot "$@"
	t_command="screenshot $*"
}

# start NAME [OPTION]...: the guest of that name; its console is NAME.in and NAME.out
start()
{
	local name=$1
	shift
	mkfifo "$name.in"
	"$LKVM" run --debug-exit --name "$name" "$@" <"$name.in" >"$name.out" 2>"$name.err" &
	pid=$!
	exec 4>"$name.in"
}

has_said()
{
	grep -q "$2" "$1.out" || ! kill -0 "$pid" 2>/dev/null
}

# says NAME TEXT: wait for that, if the guest that was started last is there
says()
{
	until_true has_said "$@"
}
