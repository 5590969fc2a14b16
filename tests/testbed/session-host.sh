# shellcheck shell=bash
# Tests of session-job.sh, which reads this file: what lkvm needs of its host, and what it leaves there.

uid=4321 # has no entry in /etc/passwd

# as_user NAME COMMAND...: with a /dev/kvm of his own and nothing else that others have not; the kernel's folder, that
# only root may be able to enter, is at user/kernel. His guests' sockets are where they are by default.
as_user()
{
	local name=$1
	shift
	# shellcheck disable=SC2016
	env -u LKVM_DIR -u XDG_RUNTIME_DIR -u TMPDIR KERNEL="${CLOUD%/boot/*}" unshare --mount sh -c '
		mount --bind "$KERNEL" user/kernel
		mount -t tmpfs dev user/dev
		mknod -m 600 user/dev/kvm c $(stat -c "0x%t 0x%T" /dev/kvm)
		chown "$0" user/dev/kvm
		mount --bind user/dev/kvm /dev/kvm
		exec setpriv --reuid "$0" --regid "$0" --clear-groups --inh-caps=-all --bounding-set=-all \
			--no-new-privs -- "$@"' $uid "$@" </dev/null >"$name.out" 2>"$name.err"
	echo $? >"$name.status"
}

test_user()
{
	local boot=(timeout "$per_guest" "$work/user/lkvm" run -k "$work/user/kernel/boot/${CLOUD##*/}" -c 1 -m 256)
	[ "$(id -u)" = 0 ] || { skip "only root can become another user"; return; }
	chmod 755 "$work"
	mkdir user user/{kernel,dev,home,rw}
	chown $uid user/rw
	chmod 700 user/rw
	cp "$LKVM" user/lkvm
	HOME=$work/user/home as_user user "${boot[@]}" --rw "$work/user/rw" --cwd "$work/user/rw" -- sh -c '
		id -u; echo new >file; ls / >/dev/null && echo listed; cat /etc/shadow 2>/dev/null || echo refused; exit 5'
	expect_status user 5
	expect_text user.out $'0\nlisted\nrefused'
	expect_empty user.err
	expect "his file" [ "$(stat -c %u user/rw/file)" = $uid ]
	expect "nothing at home" [ -z "$(ls -A user/home)" ]
	as_user user-homeless env -u HOME "${boot[@]}" -- uname -r
	expect_status user-homeless 0
	expect_text user-homeless.out "${CLOUD##*/vmlinuz-}"
	expect_empty user-homeless.err
	expect "no socket" [ -z "$(ls -A "/tmp/lkvm-$uid")" ]
	as_user user-list "$work/user/lkvm" list --quiet
	expect_status user-list 0
	expect_empty user-list.out
}

# In a mount namespace with a /dev of its own
container()
{
	local node
	mkdir dev
	mount -t tmpfs dev dev
	for node in kvm null zero full urandom; do
		: >"dev/$node"
		mount --bind "/dev/$node" "dev/$node"
	done
	mount --move dev /dev
	run container -k "$CLOUD" -c 1 -m 256 -- sh -c 'ls /dev/shm | wc -l; cat; exit 6' <<<in
}
export -f container run

test_container()
{
	[ "$(id -u)" = 0 ] || { skip "only root can mount"; return; }
	per_guest=$per_guest CLOUD=$CLOUD unshare --mount bash -c container 2>container.log
	expect_status container 6
	expect_text container.out $'0\nin'
	expect_empty container.err
}

test_spaces()
{
	local base=${CLOUD%/boot/*}
	mkdir -p "my kernels/new one/boot"
	cp "$CLOUD" "my kernels/new one/boot/"
	ln -s "$base/lib" "my kernels/new one/lib"
	session spaces "my kernels/new one/boot/${CLOUD##*/}" -- uname -r </dev/null
	expect_status spaces 0
	expect_text spaces.out "${CLOUD##*/vmlinuz-}"
	expect_empty spaces.err
}

# What may be left: mounts, temporary files; but for test_user's
traces()
{
	cat /proc/self/mounts
	find /tmp /dev/shm /run -maxdepth 1 -name '*lkvm*' ! -name "lkvm-$uid" | sort
	find kill/tmp
}

# all_gone PID...: soon
all_gone()
{
	local i
	for ((i = 0; i < 100; i++)); do
		kill -0 "$@" 2>/dev/null || return 0
		sleep 0.1
	done
	return 1
}

test_kill()
{
	local pid children
	export LKVM_DIR=$work/kill/sockets TMPDIR=$work/kill/tmp
	mkdir kill kill/tmp
	qemu-img create -q -f qcow2 kill/disk.qcow2 16M
	traces >kill.before
	lkvm run --name kill -k "$CLOUD" -c 1 -m 256 -d kill/disk.qcow2 --rw "$work/kill" -- sleep 1000 \
		</dev/null >kill.out 2>kill.err &
	pid=$!
	expect "it boots" booted kill
	children=$(pgrep -P $pid)
	expect "qemu-nbd serves its disk" [ -n "$children" ]
	kill -KILL $pid
	wait $pid 2>/dev/null
	# shellcheck disable=SC2086
	expect "no process" all_gone $children
	traces >kill.after
	expect "no mount, no file" diff kill.before kill.after
	expect "only the socket" [ "$(ls "$LKVM_DIR")" = kill.sock ]
	try kill-list 0 lkvm list --quiet
	expect_empty kill-list.out
	expect "no socket" [ -z "$(ls "$LKVM_DIR")" ]
}

test_many()
{
	local i
	export LKVM_DIR=$work/many
	for i in 1 2 3 4 5 6 7 8; do
		session many-$i "$CLOUD" -m 128 -- sh -c "echo $i; cat; exit $i" <<<"in $i" &
	done
	wait
	for i in 1 2 3 4 5 6 7 8; do
		expect_status many-$i $i
		expect_text many-$i.out "$i"$'\n'"in $i"
		expect_empty many-$i.err
	done
	expect "no socket" [ -z "$(ls "$LKVM_DIR")" ]
	expect "no process" [ -z "$(pgrep -f '^lkvm run --name many-')" ]
}

# memory_of PID MIB: resident KiB of everything but guest RAM, which is in mappings of this size
memory_of()
{
	awk -v limit=$(($2 * 1024)) '
		/^Size:/ { guest = $2 >= limit }
		/^Rss:/ && !guest { rss += $2 }
		END { print rss }' "/proc/$1/smaps"
}

test_memory()
{
	local pid kib
	PTY_SECONDS=$per_guest "$PTY" expect '# ' send $'echo at the prompt\r' expect 'at the prompt' -- \
		lkvm run --name memory -k "$CLOUD" -c 1 -m 256 -- sh >memory.out 2>memory.err </dev/null &
	expect "it boots" booted memory
	pid=$(lkvm list --json memory | jq '.[0].pid')
	kib=$(memory_of "$pid" 256)
	expect "$kib KiB are at most 4 MiB" [ "${kib:-9999}" -le 4096 ]
	expect "$kib KiB are more than nothing" [ "${kib:-0}" -gt 500 ]
	lkvm stop memory >/dev/null
}
