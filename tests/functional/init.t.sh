#!/usr/bin/env bash
# lkvm's own init (guest/init.c) as process 1 of namespaces of this machine: all that it does but loading
# modules and switching off, where the kernel ends the namespace instead. INIT is the program.
# shellcheck source=tests/functional/lib.sh
. "${0%/*}/lib.sh"
: "${INIT:?is the init to test}" "${SESSION_PEER:?is the other end of its channel}"

namespaces=(unshare --user --map-root-user --pid --mount --uts --fork)
[ "$(id -u)" -ne 0 ] || namespaces=(unshare --pid --mount --uts --fork)
if ! "${namespaces[@]}" mount -t tmpfs tmpfs /tmp 2>/dev/null; then
	t_skip "lkvm's own init" "no privilege to make namespaces"
	t_done
fi

root=$T_TMP/root
mkdir -p "$root"/{bin,etc,lkvm,dev,lower/bin,lower/inside,lower2,old} "$T_TMP/mount"
cp "$INIT" "$root/init"
cp "$(command -v busybox)" "$root/bin/"
cp "$(command -v busybox)" "$root/lower/bin/"
: >"$root/lkvm/modules"

# A root that can be moved: what an initramfs is to the kernel. Its devices are for when init may mount none.
cat >"$T_TMP/enter" <<END
mount -t tmpfs tmpfs '$T_TMP/mount' && cp -a '$root/.' '$T_TMP/mount/' && cd '$T_TMP/mount' || exit
for name in null zero tty kmsg; do
	[ -e "/dev/\$name" ] || continue
	: >"dev/\$name" && mount --bind "/dev/\$name" "dev/\$name" || exit
done
busybox pivot_root . old && exec /bin/busybox chroot . /init
END

# It waits ten seconds for a port; by then the other tests are over.
cp -a "$root" "$T_TMP/no-port"
sed "s|$T_TMP/root|$T_TMP/no-port|g" "$T_TMP/enter" >"$T_TMP/enter-no-port"
: >"$T_TMP/no-port/lkvm/session"
timeout -s KILL 60 "${namespaces[@]}" sh "$T_TMP/enter-no-port" </dev/null >"$T_TMP/no-port.out" 2>&1 &
no_port=$!

# plan RECORD...: init does what they say
plan()
{
	printf '%s\0' "$@" >"$root/lkvm/session"
	T_LIMIT=60 t_run "${namespaces[@]}" sh "$T_TMP/enter" </dev/null
	t_command="init: $1"
}

# says LINE...: on standard error, as that is the console
says()
{
	t_is "$t_command: the console" "$(t_stderr)" "$(printf '%s\n' "$@")"
}

# ---- arguments, environment, folder, status ----

# shellcheck disable=SC2016
plan cwd=/lkvm 'env=X=one  two' 'env=PATH=/nowhere:/bin' arg=busybox arg=sh arg=-c \
	'arg=busybox printf "%s\n" "$X" "$0" "$1" "$2"; busybox pwd; exit 7' 'arg=a  b' arg= $'arg=\t"\n\\'
t_stdout_is $'one  two\na  b\n\n\t"\n\\\n/lkvm'
says 'lkvm init: exit status 7'

many=(arg=busybox arg=sh arg=-c 'arg=echo $#' arg=x)
for ((i = 0; i < 10000; i++)); do
	many+=("arg=$i")
done
plan 'env=PATH=/bin' "${many[@]}"
t_stdout_is 10000
says 'lkvm init: exit status 0'

# shellcheck disable=SC2016
plan hostname=guest-7 arg=/bin/busybox arg=sh arg=-c 'arg=/bin/busybox hostname; kill -9 $$'
t_stdout_is guest-7
says 'lkvm init: killed by signal 9'

# ---- what cannot be run ----

plan env=PATH=/bin arg=nothing
says "lkvm init: run 'nothing': No such file or directory" 'lkvm init: exit status 127'
plan arg=/lkvm/session
says "lkvm init: run '/lkvm/session': Permission denied" 'lkvm init: exit status 126'
plan cwd=/nowhere arg=/bin/busybox
says "lkvm init: folder '/nowhere': No such file or directory" 'lkvm init: exit status 126'
plan user=nobody-here arg=/bin/busybox
says "lkvm init: user 'nobody-here': No such user" 'lkvm init: exit status 126'

# ---- the root ----

lower=(root-type=overlay root-source=lower root-options=lowerdir=/lower:/lower2 env=PATH=/bin)
# shellcheck disable=SC2016
plan "${lower[@]}" overlay=16M arg=busybox arg=sh arg=-c \
	'arg=echo text >/file && busybox cat /file; busybox sed -n "s|^\([^ ]*\) / .*|\1|p" /proc/mounts; busybox ls -d /in*'
t_stdout_is $'text\noverlay\n/inside'
says 'lkvm init: exit status 0'
plan "${lower[@]}" arg=busybox arg=sh arg=-c 'arg=echo text >/file'
t_stderr_like 'Read-only file system'
plan root-type=nofs root-source=host arg=busybox
says "lkvm init: mount 'host': No such device"

# ---- what the plan adds to it ----

# shellcheck disable=SC2016
plan tmpfs=/run env=PATH=/bin arg=busybox arg=sh arg=-c \
	'arg=busybox awk "\$2 ~ /^.(proc|dev.pts|dev.shm|run)\$/ { print \$2, \$3 }" /proc/mounts'
t_is "$t_command: mounts" "$(t_stdout | sort)" "$(printf '%s\n' '/dev/pts devpts' '/dev/shm tmpfs' '/proc proc' \
	'/run tmpfs')"
plan hide=/nowhere hide=/bin/busybox/x hide=/lower arg=/bin/busybox arg=sh \
	'arg=-c' 'arg=/bin/busybox ls -A /lower; /bin/busybox ls /lkvm; echo text >/lower/file'
t_stdout_is $'modules\nsession'
says "sh: can't create /lower/file: Read-only file system" 'lkvm init: exit status 1'
plan hide=/lkvm/session arg=/bin/busybox arg=wc arg=-c arg=/lkvm/session
t_stdout_is '0 /lkvm/session'
# Nobody serves that tag, if there is such a file system at all; but there is a place for it.
for place in /new/place /lower/new/place; do
	plan hide=/lower "share=ro:nobody:$place" arg=/bin/busybox
	t_stderr_like "^lkvm init: mount '$place': (No such device|Invalid argument)\$"
done
plan share=wo:nobody:/new arg=/bin/busybox
says "lkvm init: share 'wo:nobody:/new': Invalid argument"
plan share=ro:nobody arg=/bin/busybox
says "lkvm init: share 'ro:nobody': Invalid argument"

plan tmpfs=/new/folder link=/new/folder/link:../there bind=/bound:/lkvm bind=/new/folder/x/y:/bin \
	arg=/bin/busybox arg=sh 'arg=-c' 'arg=/new/folder/x/y/busybox readlink /new/folder/link
		busybox ls /bound; busybox grep -c "^tmpfs /new/folder " /proc/mounts' env=PATH=/bin
t_stdout_is $'../there\nmodules\nsession\n1'
plan link=nothing arg=/bin/busybox
says "lkvm init: link 'nothing': Invalid argument"
plan bind=/new:/nowhere arg=/bin/busybox
says "lkvm init: bind '/new:/nowhere': No such file or directory"

# ---- commands over the channel ----

chmod 1777 "$root"
mkdir -m 700 "$root/secret"
mkfifo -m 666 "$root/go"
echo 'no program' >"$root/bin/text"
chmod 755 "$root/bin/text"
cat >"$root/etc/passwd" <<'END'
root:x:0:0::/:/bin/sh
this is no entry
somebody:x:1234:1235::/:/bin/sh
END
cat >"$root/etc/group" <<'END'
one:x:77:other,somebody
primary:x:1235:somebody
two:x:78:somebody
three:x:79:somebody-else,some
END

# session CASE LINE...: the peer's case ends well, and init says the lines on the console
session()
{
	local name=$1
	shift
	case $name in
	plan*) printf '%s\0' channel-fd=3 plan=channel >"$root/lkvm/session" ;;
	*) printf '%s\0' channel-fd=3 >"$root/lkvm/session" ;;
	esac
	T_LIMIT=60 t_run "$SESSION_PEER" "$name" "${namespaces[@]}" sh "$T_TMP/enter" </dev/null
	t_command="session: $name"
	t_is "$t_command" "$t_rc $(t_stdout)" '0 '
	says "$@"
}

for name in hello plan plan-parts plan-bye bye hang-up status words many-words bulk input broken-pipe credit signals linger orphans at-once deaf idle terminal; do
	session "$name"
done
if [ "$(id -u)" -eq 0 ]; then
	session user
else
	t_skip "session: user" "only root has other users"
fi
if [ -r /dev/kmsg ] && dd if=/dev/kmsg bs=8K count=1 >/dev/null 2>&1; then
	session log
else
	t_skip "session: log" "the kernel's log cannot be read"
fi

# What is broken is told, and ends the guest.
while read -r name line; do
	session "$name" "lkvm init: session: $line"
done <<'END'
bad-type a frame of an unknown type
bad-length a frame is too long
bad-flags a frame has unknown flags
bad-zero a frame has unknown flags
bad-direction a frame of an unknown type
bad-stream a frame of a wrong length or stream
bad-credit a frame of a wrong length or stream
bad-end a frame of a wrong length or stream
bad-size a frame of a wrong length or stream
bad-signal a signal with an unknown number
over-window more data than there is credit for
behind-end data behind the end of a stream
over-credit more credit than was taken
same-number a command with a number that cannot be
number-zero a command with a number that cannot be
other-part a command with a number that cannot be
too-long a command is too long
too-short a command is too short
no-end a command's last record has no end
no-words a command has no name
bad-record a command has an unknown record
bad-exec-flags a command has unknown flags
bad-wake a wake of a wrong size
plan-no-end a plan has no end
plan-empty a plan has no end
plan-too-long a plan is too long
plan-twice a frame of an unknown type
plan-command a frame before its plan
END

wait "$no_port"
t_is "session: no port" "$(<"$T_TMP/no-port.out")" "lkvm init: port 'lkvm.session': No such device"

t_done
