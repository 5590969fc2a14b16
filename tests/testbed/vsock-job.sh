#!/usr/bin/env bash
# The tests of tests/testbed/vsock.sh, where KVM can run Linux; $CLOUD and $BACKPORT are kernels of Debian with their
# modules beside them. The guest's end is vsock.py.
tests="
joined     lkvm vsock: both ways, half closed, nobody listens; the guest's connections to the host; what list tells
amount     bytes each way, begun by either, with equal checksums: Linux 6.1 and 6.12
many       connections one after the other, and at once
messages   seqpacket: each message stays one
killed     a peer that is killed in the middle; a guest that ends
idle       connections that wait cost nothing
saved      saved, restored, copied: connections are reset, who listens still does
ssh        ssh, sftp and scp, with lkvm vsock as their ProxyCommand and sshd in the guest
user       as an ordinary user; kill -9 leaves the sockets, and they go too
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"
# shellcheck source=tests/testbed/session-host.sh
. "$here/session-host.sh"

py=/usr/bin/python3
tool=$here/vsock.py
bytes=$((VSOCK_MIB << 20))
per_guest=$((per_guest + VSOCK_MIB * 4)) # an emulated host is slow

# guest NAME KERNEL [OPTION...]: with a server at port 5000
guest()
{
	local name=$1 kernel=$2
	shift 2
	expect "a guest" timeout "$per_guest" lkvm run --vsock --detach --name "$name" -k "$kernel" -c 1 -m 256 "$@" \
		</dev/null >"$name.run" 2>&1
	server "$name"
}

# server NAME: in a guest that runs
server()
{
	lkvm exec "$1" -- $py -u "$tool" serve 5000 </dev/null >"$1.server" 2>&1 &
	wait_until "the server" grep -q ready "$1.server"
}

path_of()
{
	lkvm list --json "$1" | jq -r '.[0].vsock.path'
}

# bounded COMMAND...: not for ever
bounded()
{
	timeout "$per_guest" "$@"
}

# stay: until the tests are over
stay()
{
	exec tail -f --pid=$$ /dev/null
}

test_joined()
{
	local path
	guest joined "$CLOUD"
	path=$(path_of joined)
	expect "its socket" [ "$path" = "$LKVM_DIR/joined.vsock" ]
	expect "its CID" [ "$(lkvm list --json joined | jq '.[0].vsock.cid')" -ge 3 ]
	expect "the guest's own" [ "$(lkvm exec joined -- $py -c "import fcntl
print(int.from_bytes(fcntl.ioctl(open('/dev/vsock'), 0x7b9, bytes(4)), 'little'))" </dev/null)" = \
		"$(lkvm list --json joined | jq '.[0].vsock.cid')" ]
	try joined-echo 0 lkvm vsock joined 5000 <<<$'echo\nsome words'
	expect_text joined-echo.out "some words"
	expect_empty joined-echo.err
	try joined-sink 0 lkvm vsock joined 5000 < <(echo sink; echo words)
	expect_text joined-sink.out "$(echo words | md5sum | cut -d' ' -f1)"
	try joined-nobody 1 lkvm vsock joined 77 </dev/null
	expect_text joined-nobody.err "lkvm: guest 'joined': nobody listens on vsock port 77"
	expect "the guest ends it" bounded lkvm vsock joined 5000 < <(echo source 0; stay) >/dev/null
	# the other way
	bounded lkvm vsock --listen joined 6000 </dev/null >heard 2>&1 &
	wait_until "it listens" test -S "$path"_6000
	lkvm exec joined -- $py -c "import socket
s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM); s.connect((2, 6000)); s.sendall(b'from the guest\n')" </dev/null
	wait $!
	expect_text heard "from the guest"
	expect "no name is left" [ ! -e "$path"_6000 ]
	try joined-refused 1 lkvm exec joined -- $py "$tool" call 6000 sink 1 </dev/null
	expect "it is refused: $(cat joined-refused.err)" grep -q 'ConnectionResetError' joined-refused.err
	expect "stat tells of it" lkvm stat --json joined | jq -e '.vsock.opened >= 4' >/dev/null
	lkvm stop joined >/dev/null
	expect "nothing is left" [ -z "$(find "$LKVM_DIR" -name 'joined*')" ]
}

# amount NAME KERNEL
amount()
{
	local name=$1 path sum
	guest "$name" "$2"
	path=$(path_of "$name")
	sum=$($py -c "import sys; n = $bytes
for i in range(n >> 16): sys.stdout.buffer.write(bytes(range(256)) * 256)" | tee "$name.data" | md5sum | cut -d' ' -f1)
	try "$name-in" 0 lkvm vsock "$name" 5000 < <(echo sink; cat "$name.data")
	expect_text "$name-in.out" "$sum"
	try "$name-out" 0 lkvm vsock "$name" 5000 <<<"source $bytes"
	expect "what comes out" cmp "$name.data" "$name-out.out"
	rm -f "$name.data" "$name-out.out"
	$py "$tool" host "$path"_7 >/dev/null 2>&1 &
	wait_until "it listens" test -S "$path"_7
	try "$name-sink" 0 lkvm exec "$name" -- $py "$tool" call 7 sink $bytes </dev/null
	expect_text "$name-sink.out" "$sum"
	try "$name-source" 0 lkvm exec "$name" -- $py "$tool" call 7 source $bytes </dev/null
	expect_text "$name-source.out" "$sum"
	kill $!
	lkvm stop "$name" >/dev/null
}

test_amount()
{
	amount amount "$CLOUD"
	amount amount-new "$BACKPORT"
}

test_many()
{
	local atonce=$((VSOCK_CONNS / 3))
	guest many "$CLOUD"
	try many-opened 0 $py "$tool" opened "$(path_of many)" 5000 "$VSOCK_CONNS"
	expect_text many-opened.out "$VSOCK_CONNS"
	try many-atonce 0 $py "$tool" atonce "$(path_of many)" 5000 $atonce
	expect_text many-atonce.out "$atonce"
	wait_until "none is left" no_connections many
	lkvm stop many >/dev/null
}

no_connections()
{
	[ "$(lkvm stat --json "$1" | jq .vsock.connections)" = 0 ]
}

test_messages()
{
	guest messages "$CLOUD"
	try messages-echo 0 $py "$tool" messages "$(path_of messages)" 5000
	expect_text messages-echo.out good
	expect_empty messages-echo.err
	lkvm stop messages >/dev/null
}

test_killed()
{
	local client
	guest killed "$CLOUD"
	try killed-cut 0 $py "$tool" cut "$(path_of killed)" 5000
	wait_until "none is left" no_connections killed
	# the guest's program
	bounded lkvm vsock killed 5000 < <(echo source 1000000000; stay) >/dev/null 2>killed.err &
	client=$!
	bounded lkvm vsock killed 5000 < <(echo hold; stay) >/dev/null 2>&1 &
	wait_until "they are connected" has_connections killed 2
	lkvm exec killed -- pkill -KILL -f vsock.py </dev/null
	expect "it ends" wait $client
	wait $!
	wait_until "none is left" no_connections killed
	server killed
	bounded lkvm vsock killed 5000 < <(echo hold; stay) >/dev/null 2>&1 &
	client=$!
	wait_until "it is connected" has_connections killed 1
	lkvm stop killed >/dev/null
	expect "it ends with the guest" wait $client
}

has_connections()
{
	[ "$(lkvm stat --json "$1" | jq .vsock.connections)" = "$2" ]
}

# ticks PID: of its processor time, in 1/100 s
ticks()
{
	awk '{ print $14 + $15 }' "/proc/$1/task/$2/stat"
}

test_idle()
{
	local pid tid before after i clients=()
	guest idle "$CLOUD"
	mkfifo idle.pipe
	exec 6<>idle.pipe # which nobody reads
	for i in 1 2 3; do
		bounded lkvm vsock idle 5000 < <(echo hold; head -c 1000000 /dev/zero; stay) >/dev/null 2>&1 &
		clients+=($!)
	done
	bounded lkvm vsock idle 5000 < <(echo source 100000000; stay) >idle.pipe 2>/dev/null &
	clients+=($!)
	wait_until "they are connected" has_connections idle 4
	pid=$(lkvm list --json idle | jq '.[0].pid')
	tid=$(grep -lx 'dev/vsock0' "/proc/$pid/task/"*/comm | cut -d/ -f5)
	sleep 2
	before=$(ticks "$pid" "$tid")
	sleep 3
	after=$(ticks "$pid" "$tid")
	expect "it rests: $before, $after" [ $((after - before)) -le 15 ]
	lkvm stop idle >/dev/null
	kill "${clients[@]}" 2>/dev/null
}

# answers NAME: its server
answers()
{
	[ "$(bounded lkvm vsock "$1" 5000 <<<$'echo\nready' 2>/dev/null)" = ready ]
}

# The server is the guest's own command: one of `lkvm exec` ends with the connection to that.
test_saved()
{
	local client i name
	expect "a guest" timeout "$per_guest" lkvm run --vsock --detach --name saved -k "$CLOUD" -c 1 -m 256 -- \
		$py -u "$tool" serve 5000 </dev/null >saved.run 2>&1
	wait_until "the server" answers saved
	wait_until "none is left" no_connections saved
	bounded lkvm vsock saved 5000 < <(echo echo; cat /dev/null; stay) >saved.echo 2>&1 &
	client=$!
	wait_until "it is connected" has_connections saved 1
	expect "to save it" lkvm snapshot saved snap
	expect "its connection stays" [ "$(lkvm stat --json saved | jq .vsock.connections)" = 1 ]
	try saved-still 0 lkvm vsock saved 5000 <<<$'echo\nstill'
	expect_text saved-still.out still
	expect "a copy" lkvm fork saved --count 2 >/dev/null
	expect "restored" lkvm run --restore snap --detach --name saved-on </dev/null >/dev/null
	for name in saved-1 saved-2 saved-on; do
		# Who listens there does since before.
		try $name-echo 0 lkvm vsock $name 5000 <<<"echo"$'\n'"$name"
		expect_text $name-echo.out $name
		expect "its own socket" [ -S "$LKVM_DIR/$name.vsock" ]
		expect "the same CID" [ "$(lkvm list --json $name | jq '.[0].vsock.cid')" = \
			"$(lkvm list --json saved | jq '.[0].vsock.cid')" ]
		wait_until "none is left" no_connections $name
	done
	try saved-cid 0 lkvm run --restore snap --detach --name saved-cid --vsock 4711 </dev/null
	try saved-cid-echo 0 lkvm vsock saved-cid 5000 <<<$'echo\nother'
	expect_text saved-cid-echo.out other
	kill $client
	lkvm stop --all >/dev/null
}

# As lkvm-vsock(1) has it; vsock.py does what it names socat for.
test_ssh()
{
	local sshd
	sshd=$(PATH=$PATH:/usr/sbin command -v "${SSHD:-sshd}") || { skip "no sshd (openssh-server; or \$SSHD)"; return; }
	mkdir ssh
	ssh-keygen -q -t ed25519 -N '' -f ssh/host
	ssh-keygen -q -t ed25519 -N '' -f ssh/user
	cat >ssh/sshd_config <<-END
		HostKey $work/ssh/host
		AuthorizedKeysFile $work/ssh/user.pub
		StrictModes no
		Subsystem sftp internal-sftp
	END
	cat >ssh/config <<-END
		Host *.lkvm
			ProxyCommand $work/bin/lkvm vsock \$(basename %h .lkvm) 22
			User root
			StrictHostKeyChecking no
			UserKnownHostsFile /dev/null
			IdentityFile $work/ssh/user
			LogLevel ERROR
	END
	cat >ssh/serve <<-END
		grep -q ^sshd: /etc/passwd || echo sshd:x:74:65534::/run/sshd:/bin/false >>/etc/passwd
		sed -i 's/^root:[^:]*:/root:*:/' /etc/shadow
		mkdir -p /run/sshd
		exec $py -u $tool each 22 $sshd -i -e -f $work/ssh/sshd_config
	END
	expect "a guest" timeout "$per_guest" lkvm run --vsock --detach --name ssh -k "$CLOUD" -c 1 -m 256 </dev/null >ssh.run 2>&1
	lkvm exec ssh -- bash "$work/ssh/serve" </dev/null >ssh.server 2>&1 &
	wait_until "the server" grep -q ready ssh.server
	try ssh-status 3 ssh -F ssh/config ssh.lkvm 'cat; uname -n; exit 3' <<<"there and back"
	expect_text ssh-status.out "there and back"$'\n'"$(lkvm exec ssh -- uname -n </dev/null)"
	head -c 3000000 /dev/urandom >ssh/file
	try ssh-scp 0 scp -F ssh/config ssh/file ssh.lkvm:/run/file
	try ssh-sum 0 ssh -F ssh/config ssh.lkvm 'md5sum </run/file' </dev/null
	expect_text ssh-sum.out "$(md5sum <ssh/file)"
	try ssh-sftp 0 sftp -q -F ssh/config ssh.lkvm:/run/file ssh/back
	expect "the same file" cmp ssh/file ssh/back
	try ssh-tty 0 ssh -tt -F ssh/config ssh.lkvm tty </dev/null
	expect "a terminal" grep -q '^/dev/pts/' ssh-tty.out
	lkvm stop ssh >/dev/null
}

test_user()
{
	[ "$(id -u)" = 0 ] || { skip "only root can become another user"; return; }
	chmod 755 "$work"
	mkdir user user/{kernel,dev,home}
	chown $uid user/home
	cp "$LKVM" user/lkvm
	HOME=$work/user/home as_user user timeout "$per_guest" "$work/user/lkvm" run --vsock --name vsock-user \
		-k "$work/user/kernel/boot/${CLOUD##*/}" -c 1 -m 256 -- $py -u "$tool" serve 5000 &
	wait_until "the server" grep -q ready user.out
	as_user user-echo sh -c "printf 'echo\\nhis own\\n' | timeout $per_guest '$work/user/lkvm' vsock vsock-user 5000"
	expect_status user-echo 0
	expect_text user-echo.out "his own"
	expect "for nobody else" [ "$(stat -c %a:%u "/tmp/lkvm-$uid/vsock-user.vsock")" = 600:$uid ]
	as_user user-list "$work/user/lkvm" list --json
	kill -KILL "$(jq '.[0].pid' user-list.out)"
	wait
	expect "the sockets" [ "$(cd "/tmp/lkvm-$uid" && echo *)" = \
		"vsock-user.sock vsock-user.vsock vsock-user.vsock.seqpacket" ]
	as_user user-gone "$work/user/lkvm" list --quiet
	expect "no socket: $(ls "/tmp/lkvm-$uid")" [ -z "$(ls "/tmp/lkvm-$uid")" ]
}

run_tests "$@"
rm -rf "$work"
