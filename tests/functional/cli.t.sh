#!/usr/bin/env bash
# The command line: what every command has in common, then pass and fail pairs of each.
. "${0%/*}/lib.sh"

commands=$("$LKVM" help | awk '/^Commands:/ { on = 1; next } /^$/ { on = 0 } on { print $1 }')

# ---- help and version ----

t_ok "help lists commands" test -n "$commands"
for words in '' help --help -h 'help help'; do
	# shellcheck disable=SC2086
	t_run "$LKVM" $words
	t_status 0
	t_stdout_like '^Usage: lkvm '
	t_stderr_is ''
done
for words in version --version; do
	t_run "$LKVM" $words
	t_status 0
	t_stdout_like '^lkvm [0-9]+\.[0-9]+( \(git [0-9a-f]+(-dirty)?\))?$'
	t_stderr_is ''
done
json=$("$LKVM" version --json)
t_is "version --json: the parts of the version" "$("$LKVM" version)" \
	"$(jq -r '"lkvm " + .version + if .git then " (git " + .git + ")" else "" end' <<<"$json")"
t_is "version --json: features" "$(jq -r '.features | map_values(type) | to_entries | map(.key + ":" + .value) | join(" ")' <<<"$json")" \
	"gzip:boolean bzip2:boolean xz:boolean lzma:boolean lzo:boolean zstd:boolean lz4:boolean nbd:boolean images:boolean slirp:boolean png:boolean vnc:boolean"
t_is "version --json: images need qemu-nbd" "$(PATH=/nowhere "$LKVM" version --json | jq .features.images)" false
t_is "--help is help" "$("$LKVM" --help)" "$("$LKVM" help)"
t_is "no command is help" "$("$LKVM")" "$("$LKVM" help)"
t_ok "the name it is started by does not matter" bash -c 'exec -a "" "$LKVM" version'

# ---- what is the same for every command ----

widest()
{
	awk '{ if (length > n) n = length } END { print n }'
}

for command in $commands; do
	t_run "$LKVM" "$command" --help
	t_status 0
	t_stdout_like "^Usage: lkvm $command \[OPTION\]"
	t_stdout_like '^  -h, --help  +Show this text\.$'
	t_stderr_is ''
	help=$(t_stdout)
	t_is "lkvm help $command is lkvm $command --help" "$("$LKVM" help "$command")" "$help"
	t_is "lkvm $command -h is lkvm $command --help" "$("$LKVM" "$command" -h)" "$help"
	t_ok "$command --help fits into 80 columns" test "$(widest <<<"$help")" -le 80
	t_ok "$command --help follows COLUMNS" \
		test "$(COLUMNS=60 "$LKVM" "$command" --help | grep -v ^Usage | widest)" -le 60
	t_unlike "$command --help has no trailing blanks" "$help" ' $'
	hint="(try 'lkvm $command --help')"
	t_fails 125 "unknown option '--hlep', did you mean '--help'? $hint" "$LKVM" "$command" --hlep
	t_fails 125 "unknown option '--xyzzy' $hint" "$LKVM" "$command" --xyzzy
	t_fails 125 "unknown option '--xyzzy' $hint" "$LKVM" "$command" --xyzzy=5
	t_fails 125 "unknown option '-%' $hint" "$LKVM" "$command" -%
	t_fails 125 "option '--help': takes no argument, but got 'x'" "$LKVM" "$command" --help=x
	t_ok "a wrong option creates nothing" test ! -e "$LKVM_DIR"
done

# ---- names that are wrong ----

t_fails 125 "unknown command 'versoin', did you mean 'version'?" "$LKVM" versoin
t_fails 125 "unknown command 'xyzzy', \`lkvm help\` lists all" "$LKVM" xyzzy
t_fails 125 "unknown command '', \`lkvm help\` lists all" "$LKVM" ''
t_fails 125 "unknown command 'Version', did you mean 'version'?" "$LKVM" Version
t_fails 125 "unknown option '--versoin', did you mean '--version'?" "$LKVM" --versoin
t_fails 125 "unknown option '-x', \`lkvm help\` lists all" "$LKVM" -x
t_fails 125 "unknown option '--', \`lkvm help\` lists all" "$LKVM" -- version
t_fails 125 "unknown command 'versio', did you mean 'version'?" "$LKVM" help versio
t_fails 125 "unexpected argument 'help'" "$LKVM" help version help
t_fails 125 "unexpected argument 'now'" "$LKVM" version now
t_fails 125 "unexpected argument 'now'" "$LKVM" --version now
t_fails 125 "unexpected argument '--'" "$LKVM" version -- --

# ---- list, stop, pause, resume, stat, debug: without any guest ----

no_guest="no guest named 'nosuch' is running"

t_run "$LKVM" list
t_status 0
t_stdout_like '^NAME +PID +STATE +UPTIME +RAM +CPUS +COMMAND$'
t_run "$LKVM" list --json
t_status 0
t_stdout_is '[]'

for command in stop pause resume; do
	t_run "$LKVM" $command --all
	t_status 0
	t_stderr_is ''
	t_fails 1 "$no_guest" "$LKVM" $command nosuch
	t_fails 1 "$no_guest" "$LKVM" $command --name nosuch
	t_fails 125 "invalid guest name '../x'" "$LKVM" $command ../x
	t_fails 125 "invalid guest name ''" "$LKVM" $command ''
	t_fails 125 "$command: which guest? NAME or --all" "$LKVM" $command
	t_fails 125 "$command: either NAME or --all" "$LKVM" $command --all nosuch
	t_fails 125 "option '--name': argument NAME is missing" "$LKVM" $command --name
done
for seconds in 0 -1 '' abc 1.5 86401 4294967297; do
	t_fails 125 "option '--graceful': '$seconds' is not a whole number from 1 to 86400" \
		"$LKVM" stop --graceful "$seconds" nosuch
done
t_fails 1 "$no_guest" "$LKVM" stop -g 86400 nosuch
for command in stat debug; do
	t_fails 1 "$no_guest" "$LKVM" $command nosuch
	[ $command = stat ] || t_fails 125 "$command: give one NAME" "$LKVM" $command
	[ $command = stat ] || t_fails 125 "$command: give one NAME" "$LKVM" $command nosuch nosuch
done
t_fails 1 "$no_guest" "$LKVM" exec nosuch -- true
t_fails 1 "$no_guest" "$LKVM" exec -t --cwd / --user 0 --env A=1 nosuch -- true --help
t_fails 125 "invalid guest name '../x'" "$LKVM" exec ../x -- true
t_fails 125 "exec: give one NAME, and the command behind --" "$LKVM" exec
t_fails 125 "exec: give one NAME, and the command behind --" "$LKVM" exec nosuch nosuch -- true
t_fails 125 "exec: give one NAME, and the command behind --" "$LKVM" exec -- true
t_fails 125 "exec: which command? NAME -- COMMAND" "$LKVM" exec nosuch --
t_fails 125 "exec: which command? NAME -- COMMAND" "$LKVM" exec nosuch
t_fails 125 "exec: either --tty or --no-tty" "$LKVM" exec -tT nosuch -- true
t_fails 125 "option '--env': '=1' is neither NAME=VALUE nor NAME" "$LKVM" exec --env =1 nosuch -- true
t_fails 125 "$no_guest" "$LKVM" console nosuch
t_fails 125 "$no_guest" "$LKVM" console --lines 0 --escape none --name nosuch
t_fails 125 "console: give one NAME" "$LKVM" console
t_fails 125 "console: give one NAME" "$LKVM" console nosuch nosuch
t_fails 125 "invalid guest name '../x'" "$LKVM" console ../x
t_fails 125 "option '--escape': 'x' is neither none nor ^ and one of a to z [ \\ ] ^ _" "$LKVM" console --escape x nosuch
t_run "$LKVM" console --lines -1 nosuch
t_status 125
t_fails 1 "$no_guest" "$LKVM" stat --json nosuch
t_fails 1 "$no_guest" "$LKVM" debug --memmap --json nosuch
t_fails 1 "$no_guest" "$LKVM" debug --translate ffffffff81000000 nosuch
t_fails 1 "$no_guest" "$LKVM" debug --translate 0xffffffffffffffff nosuch
t_fails 1 "$no_guest" "$LKVM" debug --json nosuch
t_fails 125 "option '--nmi': argument CPU is missing" "$LKVM" debug --nmi
t_fails 125 "--nmi 'x': not the number of a virtual CPU" "$LKVM" debug --nmi x nosuch
t_fails 125 "--sysrq 'ab': must be one character" "$LKVM" debug --sysrq ab nosuch
for address in '' xyz 0x 0x10000000000000000 -1 '1 '; do
	t_fails 125 "--translate '$address': not a hexadecimal address of 64 bits" \
		"$LKVM" debug --translate "$address" nosuch
done
t_ok "asking for guests creates nothing" test ! -e "$LKVM_DIR"
t_fails 1 "write the list: No space left on device" bash -c 'exec "$LKVM" list >/dev/full'

# ---- check ----

t_fails 125 "unexpected argument 'now'" "$LKVM" check now
t_run "$LKVM" check
t_is "lkvm check: reason and result are on one stream" "$(t_stderr)" ''
t_stdout_like '^virtual machine +(ok|FAILED)'
[ "$t_rc" -eq 0 ] || [ "$t_rc" -eq 1 ]
t_report $? "lkvm check: status 0 or 1" "status $t_rc"
t_is "lkvm check: its status agrees with what it says" "$((t_rc != 0))" \
	"$(t_stdout | grep -cm1 FAILED)"

# ---- standard descriptors, environment ----

t_fails 1 "write 'standard output': No space left on device" bash -c 'exec "$LKVM" version >/dev/full'
t_fails 1 "write 'standard output': No space left on device" bash -c 'exec "$LKVM" >/dev/full'
t_fails 1 "write 'standard output': Bad file descriptor" bash -c 'exec "$LKVM" version 1</dev/null'
for closed in '<&-' '>&-' '2>&-' '<&- >&- 2>&-'; do
	t_run bash -c "exec '$LKVM' version $closed"
	t_status 0
	t_stderr_is ''
done
t_run bash -c "exec '$LKVM' xyzzy <&- >&- 2>&-"
t_status 125
t_run env -i "$LKVM" help
t_status 0
t_stdout_is "$("$LKVM" help)"

# Closed descriptors are filled with /dev/null in order; what is open is left alone.
fds_opened()
{
	# shellcheck disable=SC2016
	ASAN_OPTIONS=detect_leaks=0 strace -f -qq -e trace=openat -o "$T_TMP/trace" bash -c "exec \"\$LKVM\" version $1" >/dev/null
	grep -Eo '"/dev/null", O_(RDWR|WRONLY)\) = [0-9]+' "$T_TMP/trace" | sed 's/.*= //' | tr '\n' ' '
}
t_is "nothing is opened when 0, 1 and 2 are open" "$(fds_opened '')" ""
t_is "0 and 2 closed" "$(fds_opened '<&- 2>&-')" "0 2 "
t_is "0, 1 and 2 closed" "$(fds_opened '<&- >&- 2>&-')" "0 1 2 "

t_done
