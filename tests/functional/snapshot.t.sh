#!/usr/bin/env bash
# `lkvm snapshot` and `lkvm run --restore`: guests are saved at any moment and go on, as often as wanted; what
# does not fit is refused by name; what is damaged harms nobody.
# shellcheck source=tests/functional/snapshot.bash
. "${0%/*}/snapshot.bash"

# identity FILE...: what of a snapshot must stay the same
identity()
{
	cat "$@" | cksum
}

# ---- a guest that remembers all that it did: rings, disks, chips, interrupts, memory ----

truncate -s 1M disk0 disk1

# witness NAME OPTION...
witness()
{
	local name=$1 i
	shift
	begin witness.mb "$@"
	t_ok "$name: the guest starts" heard '^ready$'
	for i in 1 2 3; do
		t_ok "$name: saved ($i)" "$LKVM" snapshot test "snap$i"
	done
	printf a >&4
	t_ok "$name: it goes on" heard '^[0-9]+$'
	finish 1 "$name: and finds nothing wrong"
	for i in 1 3; do
		restore "snap$i" aq
		t_status 1
		t_stdout_like '^[0-9]+$'
	done
	before=$(identity snap1/*)
	restore snap1 aaq # what it wrote the first time is not there
	t_status 1
	t_is "$name: the snapshot stays as it was" "$(identity snap1/*)" "$before"
	rm -rf snap?
}

witness "split rings, PCI" -d disk0 -d disk1,queues=2 -p disks=2
t_ok "the guest has written its disk" grep -q . disk0
truncate -s 1M disk2
witness "packed rings, PCI" -d disk2,packed -p "disks=1 packed"
witness "MMIO" --virtio-transport mmio -d disk0 -d disk1,ephemeral -p disks=2
witness "RAM that others share" --mem-share -d disk0 -p disks=1

# ---- disk and memory are of the same instant, whatever came after it ----

begin witness.mb -d disk0 -p disks=1
heard '^ready$'
"$LKVM" snapshot test one >/dev/null
printf aaa >&4
heard '^[0-9]+$'
kill -KILL "$g_pid"
wait "$g_pid" 2>/dev/null
exec 3<&- 4>&-
restore one aq
t_status 1
t_fails 125 "create 'nowhere/log': No such file or directory" \
	"$LKVM" run --restore one --disks rw --log nowhere/log
t_is "of one that did not come to run no disk was written" "$(ls one)" "$(printf 'disk0\nram\nstate')"
restore one aq --disks rw
t_status 1
t_fails 125 "The disks of snapshot 'one' were written since (--disks rw); refusing to restore" \
	"$LKVM" run --restore one

# ---- a copy knows that it is one, and is no other's ----

begin witness.mb -d disk0 -p disks=1
heard '^ready$'
"$LKVM" snapshot test one --force >/dev/null
printf a >&4
IFS= read -r -t 30 line <&3
t_like "who was saved is no copy" "${line%$'\r'}" '^[0-9]+$'
finish 1 "and stays none"
ids=()
for i in 1 2; do
	restore one aq
	t_status 1
	ids+=("$(tr -d '\r' <"$T_TMP/stdout" | grep '^generation')")
	t_like "copy $i has a new generation ID, once" "${ids[-1]}" '^generation [^ ]+ [^ ]+$'
	t_is "copy $i: one line" "$(wc -l <<<"${ids[-1]}")" 1
done
t_ok "each copy has its own" test "${ids[0]}" != "${ids[1]}"

# ---- what is saved, and how ----

begin witness.mb -d disk0 -p disks=1
heard '^ready$'
t_run "$LKVM" snapshot test two
t_status 0
t_stdout_like "^lkvm: guest 'test' saved in 'two': [0-9]+MB of RAM, 1 disk \([01] cloned\); it stood still for [0-9.]+ ms$"
t_is "nobody else can read it" "$(stat -c '%a' two two/* | paste -sd' ')" '700 600 600 600'
t_is "RAM has as many bytes as the guest's" "$(stat -c %s two/ram)" $((64 << 20))
t_ok "what the guest never had takes no space" test "$(stat -c %b two/ram)" -lt 16384
t_fails 1 "guest 'test' cannot be saved in 'two': it exists (--force replaces an older snapshot)" \
	"$LKVM" snapshot test two
old=$(stat -c %i two)
mkdir .lkvm-snapshot-0123abcd # as one leaves it whose processes were all killed
touch .lkvm-snapshot-0123abcd/ram
t_run "$LKVM" snapshot test two --force
t_status 0
t_ok "--force replaces it" test "$(stat -c %i two)" != "$old"
t_ok "what others have left is removed" test ! -e .lkvm-snapshot-0123abcd
mkdir other
t_fails 1 "guest 'test' cannot be saved in 'other': it exists and is no snapshot: it is not replaced" \
	"$LKVM" snapshot test other --force
cp two/state other
touch other/disk.img # is somebody's
t_fails 1 "guest 'test' cannot be saved in 'other': it exists and is no snapshot: it is not replaced" \
	"$LKVM" snapshot test other --force
t_is "nothing of it is touched" "$(ls other)" "$(printf 'disk.img\nstate')"
rm -r other
mkdir other
t_fails 125 "open the folder of 'nowhere/x': No such file or directory" "$LKVM" snapshot test nowhere/x
t_fails 125 "snapshot: which guest, and which folder? NAME DIR" "$LKVM" snapshot test
t_fails 1 "no guest named 'nobody' is running" "$LKVM" snapshot nobody x
"$LKVM" pause test >/dev/null
t_run "$LKVM" snapshot test paused
t_status 0
t_like "one that is paused stays so" "$("$LKVM" list)" 'paused'
"$LKVM" resume test >/dev/null
t_run "$LKVM" snapshot test last --stop
t_status 0
g_wait
exec 4>&-
t_is "--stop ends it" "$t_rc" 0
t_is "nothing is left beside the snapshots" "$(find . -name '.*' ! -name .)" ''
restore paused aq
t_status 1
restore last aq
t_status 1

# ---- a disk whose file becomes longer, or shorter, under a layer ----

for size in 4G 8K; do
	begin witness.mb -d disk1,ephemeral -p disks=1
	heard '^ready$'
	truncate -s $size disk1
	t_run "$LKVM" snapshot test layer
	t_status 0
	t_is "base of $size: as long as the disk was" "$(stat -c %s layer/disk0)" $((1 << 20))
	truncate -s 1M disk1
	finish 1 "base of $size: the guest goes on"
	rm -r layer
done

# ---- a restore of a restore ----

cp -r last deep0
for i in 1 2 3; do
	rm -f fifo
	mkfifo fifo
	exec 4<>in
	"$LKVM" run --restore deep$((i - 1)) --name test <in >fifo 2>stderr.test &
	g_pid=$!
	exec 3<fifo
	printf a >&4
	t_ok "restored $i deep: it runs" heard '^[0-9]+$'
	t_ok "restored $i deep: saved again" "$LKVM" snapshot test "deep$i" --stop
	g_wait
	exec 4>&-
done
restore deep3 aq
t_status 1

# ---- copies that run on ----

begin witness.mb -d disk0 -p disks=1
heard '^ready$'
t_run "$LKVM" fork test --count 3
t_status 0
t_stdout_is $'test-1\ntest-2\ntest-3'
t_stderr_is ''
t_run "$LKVM" fork test-2 # whose files have no names any more
t_status 0
t_stdout_is test-2-1
t_run "$LKVM" fork test --prefix other
t_status 0
t_stdout_is other-1
ids=()
for name in test-1 test-2 test-3 test-2-1 other-1; do
	t_run "$LKVM" console --lines 9 "$name" < <(printf aq)
	t_status 0
	ids+=("$(grep '^generation' "$T_TMP/stdout")")
	t_stdout_like '^[0-9]+.?$'
done
t_is "they have ended" "$("$LKVM" list --quiet)" test
t_is "each has a generation ID of its own" "$(printf '%s\n' "${ids[@]}" | sort -u | grep -c '^generation')" 5
t_fails 125 "'test/' is not a guest name (1 to 64 of A-Z a-z 0-9 . _ -)" "$LKVM" fork test --prefix test/
finish 1 "the guest itself goes on"
t_is "nothing is left of it" "$(find "$TMPDIR" -mindepth 1)" ''
t_fails 1 "no guest named 'nobody' is running" "$LKVM" fork nobody
begin witness.mb -d disk0 -p disks=1
heard '^ready$'
t_fails 1 "folder for temporary files '$T_TMP/nowhere' (TMPDIR): No such file or directory" \
	env TMPDIR="$T_TMP/nowhere" "$LKVM" fork test
finish 1 "nor is another folder taken than TMPDIR"

# Many, which wait for nothing
begin halt.bin
until_true "$LKVM" stat test >/dev/null 2>&1
t_run "$LKVM" fork test --count 40
t_status 0
t_is "40 copies" "$(grep -c . "$T_TMP/stdout") $("$LKVM" list --quiet | grep -c .)" '40 41'
t_run "$LKVM" stop --all
t_status 0
g_wait
exec 4>&-

# ---- what does not fit ----

t_fails 125 "the machine in 'last' has 64MB of RAM, not 128MB (--mem)" "$LKVM" run --restore last -m 128
t_fails 125 "the machine in 'last' has 1 CPUs, not 2 (--cpus)" "$LKVM" run --restore last -c 2
t_fails 125 "the machine in 'last' was made without --no-acpi" "$LKVM" run --restore last --no-acpi
t_fails 125 "--kernel does not go with --restore: the machine is there already" \
	"$LKVM" run --restore last -k x
t_fails 125 "disk 0 of the machine in 'last' is a copy of 'disk0', not 'disk1' (--disk)" \
	"$LKVM" run --restore last -d disk1
t_fails 125 "disk 0 of the machine in 'last' was made without 'packed' (--disk)" \
	"$LKVM" run --restore last -d disk0,packed
t_fails 125 "the machine in 'last' has 1 disks, not 2 (--disk)" \
	"$LKVM" run --restore last -d disk0 -d disk1
restore last aq -d disk0
t_status 1
t_fails 125 "--disks is about those of --restore" "$LKVM" run --disks rw -k "$GUESTS/echo.bin"
t_run "$LKVM" run --restore last -m 128 -c 2 --rng=off -d disk1
t_status 125
t_is "each difference is named" "$(grep -c . "$T_TMP/stderr")" 4
t_fails 125 "'other' is no snapshot" "$LKVM" run --restore other
t_fails 125 "open snapshot 'nowhere': No such file or directory" "$LKVM" run --restore nowhere

# ---- --stop ends when the guest is gone: its name is free ----

for i in 1 2 3; do
	t_run "$LKVM" run --detach --name again -c 1 -m 64 -k "$GUESTS/halt.bin" -d disk0
	t_status 0
	t_run "$LKVM" snapshot again again --force --stop
	t_status 0
	t_is "it is gone" "$("$LKVM" list --quiet again 2>/dev/null)" ''
done

# ---- disks that stay where they are ----

begin witness.mb -d disk0 -p disks=1
heard '^ready$'
t_run "$LKVM" snapshot test bare --disks none --stop
t_status 0
g_wait
exec 4>&-
t_is "no disk is copied" "$(ls bare)" "$(printf 'ram\nstate')"
mv disk0 moved
t_fails 125 "disk '$T_TMP/disk0', which the snapshot needs as it was: No such file or directory" \
	"$LKVM" run --restore bare
restore bare aq -d moved,ephemeral
t_status 1
mv moved disk0
cp disk0 saved
touch disk0
before=$(identity disk0)
t_fails 125 "Disk '$T_TMP/disk0' changed since the snapshot (it was written); refusing to restore" \
	"$LKVM" run --restore bare
t_is "not a byte of it is touched" "$(identity disk0)" "$before"
truncate -s 2M disk0
t_fails 125 "Disk '$T_TMP/disk0' changed since the snapshot (it has another size); refusing to restore" \
	"$LKVM" run --restore bare
mv saved disk0
t_fails 125 "Disk '$T_TMP/disk0' changed since the snapshot (it is another file); refusing to restore" \
	"$LKVM" run --restore bare

# ---- folders of the host ----

mkdir folder
begin witness.mb -d disk0 -p disks=1 --fs folder,tag,ro,cache=always --9p folder,other
heard '^ready$'
t_run "$LKVM" snapshot test shares
t_status 0
finish 1 "with folders: the guest goes on"
restore shares aq
t_status 1
t_run "$LKVM" snapshot --show shares
t_stdout_like '^\[folder1\]'
t_fails 125 "--fs does not go with --restore: the machine is there already" \
	"$LKVM" run --restore shares --fs folder,tag
rmdir folder
t_fails 125 "folder '$T_TMP/folder': No such file or directory" "$LKVM" run --restore shares

# ---- what cannot be saved ----

(
	ulimit -f 64
	exec "$LKVM" run --debug-exit -c 1 -m 64 --name test -k "$GUESTS/echo.bin" <in >out 2>stderr.test
) &
g_pid=$!
exec 3</dev/null 4<>in
until_true grep -q '>' out
t_run "$LKVM" snapshot test x
t_status 1
t_stderr_like "^lkvm: guest 'test' cannot be saved in 'x': (write RAM|write the state): File too large$"
finish 1 "nor does it end if the disk is full"
t_is "of which nothing is left" "$(find . -name '.*' ! -name . ; ls -d x 2>/dev/null)" ''

# ---- damage: refused, or harmless ----

size=$(stat -c %s last/state)
for at in 0 8 12 16 24 80 96 100 132 $((size / 3)) $((size / 2)) $((size - 1)); do
	rm -rf broken
	cp -r last broken
	byte=$(dd if=broken/state bs=1 skip="$at" count=1 status=none | od -An -tu1)
	printf '%b' "\\x$(printf %x $((byte ^ 0x10)))" | dd of=broken/state bs=1 seek="$at" conv=notrunc status=none
	t_run "$LKVM" run --restore broken
	[ "$t_rc" -eq 125 ] && grep -Eq "^lkvm: (snapshot 'broken' is (damaged|from a newer lkvm)|'broken' is no snapshot)" "$T_TMP/stderr"
	t_report $? "byte $at flipped: refused" "$t_rc: $(t_stderr)"
done
for len in 0 100 104 200 $((size - 1)); do
	head -c "$len" last/state >broken/state
	t_run "$LKVM" run --restore broken
	t_status 125
done
cp last/state broken/state
truncate -s 1M broken/ram
t_fails 125 "snapshot 'broken' is damaged: 'ram' is not as long as its RAM" "$LKVM" run --restore broken
rm broken/ram
t_fails 125 "open 'broken/ram': No such file or directory" "$LKVM" run --restore broken
cp last/ram broken/ram
ln -sf "$T_TMP/disk0" broken/disk0
t_fails 125 "snapshot 'broken' is damaged: 'disk0' is not as long as the disk" "$LKVM" run --restore broken
rm broken/disk0
t_fails 125 "'broken/disk0': No such file or directory" "$LKVM" run --restore broken
restore last q --verbose
t_stderr_like '^restored: last$'

# ---- a network: where it leads is said anew, and what the guest has seen of it is kept, in the next one too ----

begin witness.mb -d disk0 -p disks=1 -n switch=one,queues=2,mtu=2000,mac=02:00:00:00:00:07,rss,packed
t_ok "with a network: the guest starts" heard '^ready$'
t_ok "with a network: saved" "$LKVM" snapshot test net1 --stop
T_LIMIT=120 g_wait
exec 4>&-
for net in "--net=switch=two" "--net" ""; do
	# shellcheck disable=SC2086 # none is none
	go_on --restore net1 $net
	printf a >&4
	t_ok "restored with '$net': it runs" heard '^[0-9]+$'
	t_like "restored with '$net': the device" "$("$LKVM" stat test)" 'net0: .*02:00:00:00:00:07'
	rm -rf net2
	t_ok "restored with '$net': saved again" "$LKVM" snapshot test net2 --stop
	T_LIMIT=120 g_wait
	exec 4>&-
	restore net2 aq
	t_status 1
	t_stdout_like '^[0-9]+$'
done
go_on --restore net1 --net
printf a >&4
t_ok "a network that is not said: it runs" heard '^[0-9]+$'
rm -rf net2
t_ok "a network that is not said: saved" "$LKVM" snapshot test net2 --stop
T_LIMIT=120 g_wait
exec 4>&-
t_fails 125 "snapshot 'net2': this machine's net0 is not what it was" "$LKVM" run --restore net2 --net user,mtu=2001

# ---- shown ----

t_run "$LKVM" snapshot --show last
t_status 0
for section in machine disk0 cpuid serial0 pci-host blk0 interrupts cpu0 clock; do
	t_stdout_like "^\\[$section\\]$"
done
t_stdout_like '^  ram_bytes +0x4000000$'
t_run "$LKVM" snapshot --show last --json
t_status 0
t_is "as JSON" "$(jq -r '.sections[] | select(.name == "machine") | .records[0].fields.cpus' "$T_TMP/stdout")" 1
t_is "the same parts" "$(jq -r '.sections[].name' "$T_TMP/stdout" | sort)" \
	"$("$LKVM" snapshot --show last | sed -n 's/^\[\(.*\)\]$/\1/p' | sort)"
t_done
