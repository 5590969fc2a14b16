# shellcheck shell=bash
# For tests that save guests and restore them: guest.bash, and how to talk with a guest that does not end by itself.
# The current folder is the test's own.
# shellcheck source=tests/functional/guest.bash
. "${0%/*}/guest.bash"

cd "$T_TMP" || exit
mkfifo in
mkdir tmp
export TMPDIR=$T_TMP/tmp

# go_on OPTION...: in the background as guest "test"; what is written to fd 4 is its input, and fd 3 has its output
go_on()
{
	rm -f fifo
	mkfifo fifo
	exec 4<>in
	"$LKVM" run --name test "$@" <in >fifo 2>stderr.test &
	g_pid=$!
	exec 3<fifo
	t_command="run $*"
}

# begin PROGRAM [OPTION]...: likewise
begin()
{
	local program=$1
	shift
	go_on --debug-exit -c 1 -m 64 -k "$GUESTS/$program" "$@"
	t_command="run $program${*:+ $*}"
}

# heard REGEX: the next line of it that matches
heard()
{
	local line
	while IFS= read -r -t 30 line <&3; do
		line=${line%$'\r'}
		[[ $line =~ $1 ]] && return
	done
	return 1
}

# finish STATUS NAME: it is told to end well
finish()
{
	printf q >&4
	T_LIMIT=120 g_wait
	exec 4>&-
	t_is "$2" "$t_rc $(grep -vE 'flat binary$|KVM_CAP_NR_VCPUS' stderr.test)" "$1 "
}

# restore DIR INPUT [OPTION]...: to its end; the input comes by a pipe
restore()
{
	local dir=$1 input=$2
	shift 2
	t_run "$LKVM" run --restore "$dir" "$@" < <(printf %s "$input")
	t_command="run --restore ${dir##*/} $*"
}
