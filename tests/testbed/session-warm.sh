# shellcheck shell=bash disable=SC2154 # $expectations and $per_guest are job.sh's
# Tests of session-job.sh, which reads this file: warm starts. Its other tests are warm, too, where they may be: after
# the first of its kind each of their guests goes on from where that was ready for its command.

# started NAME cold|warm: how guest NAME came to its command
started()
{
	local start
	echo >>"$expectations"
	start=$(jq -r .start "$1.json")
	[ "$start" = "$2" ] || complain "guest $1 had a '$start' start, not a $2 one"
}

# with_result NAME OPTION... -- COMMAND...: a session, whose result is NAME.json
with_result()
{
	local name=$1
	shift
	session "$name" "$CLOUD" --result "$name.json" "$@" </dev/null
}

entries() { find warm-cache/lkvm/warm -mindepth 1 -maxdepth 1 -name '[0-9a-f]*' | wc -l; }
unfinished() { find warm-cache -name '.lkvm-snapshot-*'; }

test_warm()
{
	local before after i
	# shellcheck disable=SC2016
	local tell='cat; echo error >&2; cat /proc/sys/kernel/random/uuid >&2; hostname; uname -r; exit 9'
	export XDG_CACHE_HOME=$PWD/warm-cache
	for i in 1 2 3; do
		with_result warm-$i --env X=$i -- sh -c "$tell"
		expect_status warm-$i 9
		expect_text warm-$i.out "warm-$i"$'\n'"${CLOUD##*/vmlinuz-}"
		expect "error of $i" [ "$(head -n 1 warm-$i.err)" = error ]
		started warm-$i "$([ $i = 1 ] && echo cold || echo warm)"
		expect "the kernel's release" [ "$(jq -r .kernel_release warm-$i.json)" = "${CLOUD##*/vmlinuz-}" ]
		expect "the command line" [ "$(jq .cmdline warm-$i.json)" = "$(jq .cmdline warm-1.json)" ]
	done
	expect "random numbers of their own" [ "$(sort -u warm-1.err warm-2.err warm-3.err | wc -l)" = 4 ]
	expect "one entry" [ "$(entries)" = 1 ]
	expect "only for its owner" [ "$(stat -c %a warm-cache/lkvm/warm warm-cache/lkvm/warm/[0-9a-f]*/ram | xargs)" = '700 600' ]
	# The time is the host's, not that of the first run.
	before=$(date +%s%N)
	with_result warm-clock -- date +%s%N
	after=$(date +%s%N)
	started warm-clock warm
	expect "the time: $before, $(cat warm-clock.out), $after" \
		[ "$before" -lt "$(cat warm-clock.out)" -a "$(cat warm-clock.out)" -lt "$after" ]
	# Streams, folders that are written, modules
	head -c 3000000 /dev/urandom >bytes
	session warm-streams "$CLOUD" --rw "$PWD" --cwd "$PWD" -- \
		sh -c 'tee copy && modprobe loop && grep -c "^loop " /proc/modules >modules' <bytes
	expect_status warm-streams 0
	expect "what came through it" cmp bytes warm-streams.out
	expect "what was written" cmp bytes copy
	expect_text modules 1
	# Another machine is another start.
	with_result warm-param -p quiet -- true
	started warm-param cold
	with_result warm-uuid --uuid 00112233-4455-6677-8899-aabbccddeeff -- true
	started warm-uuid cold
	expect "one entry each, and one with another folder" [ "$(entries)" = 4 ]
	with_result warm-off --warm=off -- true
	started warm-off cold
	with_result warm-log --log console.log -- true
	started warm-log cold
	expect "the boot in the log" grep -q . console.log
	expect "what is not finished" [ -z "$(unfinished)" ]
	lkvm warm list --json >list.json
	expect "the list" [ "$(jq 'map(select(.cpus == 1 and .ram_bytes == 268435456)) | length' list.json)" = 4 ]
	expect "the last used first" [ "$(jq -r '.[0].kernel' list.json)" = "$CLOUD" ]
	expect "to clear it" lkvm warm clear
	expect "nothing is left" [ "$(entries)" = 0 ]
}

# What is wrong with the cache is no matter for the run.
test_warm-bad()
{
	local i entry
	export XDG_CACHE_HOME=$PWD/warm-cache
	with_result bad-first -- true
	started bad-first cold
	entry=$(echo warm-cache/lkvm/warm/[0-9a-f]*)
	damage()
	{
		with_result "bad-$1" -- sh -c 'echo fine; exit 3'
		expect_status "bad-$1" 3
		expect_text "bad-$1.out" fine
		expect_empty "bad-$1.err"
		started "bad-$1" cold
		with_result "bad-$1-then" -- true
		started "bad-$1-then" warm
	}
	printf 'x' | dd of="$entry/state" bs=1 seek=5000 conv=notrunc status=none
	damage byte
	truncate -s 4096 "$entry/ram"
	damage ram
	# Three at once, the first of their kind
	lkvm warm clear
	for i in 1 2 3; do
		with_result bad-many-$i -- sh -c "echo $i; exit $i" &
	done
	wait
	for i in 1 2 3; do
		expect_status bad-many-$i $i
		expect_text bad-many-$i.out $i
	done
	expect "one is saved" [ "$(entries)" = 1 ]
	expect "nothing unfinished" [ -z "$(unfinished)" ]
	with_result bad-many-then -- true
	started bad-many-then warm
	# No room, no folder, not ours
	LKVM_WARM_LIMIT=1M with_result bad-limit --warm=refresh -- true
	started bad-limit cold
	expect "thrown out" [ "$(entries)" = 0 ]
	XDG_CACHE_HOME=/proc with_result bad-place -- sh -c 'exit 4'
	expect_status bad-place 4
	expect_empty bad-place.err
	started bad-place cold
	mkdir full
	mount -t tmpfs -o size=2m full full
	XDG_CACHE_HOME=$PWD/full with_result bad-full -- sh -c 'exit 5'
	expect_status bad-full 5
	expect_empty bad-full.err
	started bad-full cold
	expect "nothing in the full one" [ -z "$(find full -type f)" ]
	umount full
	chmod 777 warm-cache/lkvm/warm
	with_result bad-open -- true
	started bad-open cold
	expect "not in a folder that others write" [ "$(entries)" = 0 ]
	chmod 700 warm-cache/lkvm/warm
	# Killed while it saves, at whatever moment that is
	for i in 1 2; do
		rm -rf warm-cache
		lkvm run --name bad-kill --timeout "$per_guest" -k "$CLOUD" -c 1 -m 256 -- sleep 1000 \
			</dev/null 2>bad-kill.err &
		wait_until "the guest of round $i" test -e warm-cache/lkvm/warm
		wait_until "a save in round $i" eval 'ls -A warm-cache/lkvm/warm | grep -q .'
		kill -9 $!
		wait $! 2>/dev/null
		with_result bad-killed -- sh -c 'exit 6'
		expect_status bad-killed 6
	done
}

# A guest with a command that runs: saved, gone on from twice, and copied
test_saved()
{
	local count i
	# shellcheck disable=SC2016
	count='n=0; while [ ! -e stop ]; do n=$((n + 1)); echo $n; echo $n >>log; sleep 0.2; done; exit 17'
	session saved "$CLOUD" --rw "$PWD" --cwd "$PWD" -- sh -c "$count" </dev/null &
	wait_until "the guest" booted saved
	wait_until "its output" test -s saved.out
	expect "to save it" lkvm snapshot saved snap --stop
	wait
	# Its output goes on in another one, and so does the file that it writes.
	run saved-on --restore snap </dev/null &
	wait_until "the restored guest" booted saved-on
	try saved-exec 0 lkvm exec saved-on -- uname -r </dev/null
	expect_text saved-exec.out "${CLOUD##*/vmlinuz-}"
	expect "to copy it" lkvm fork saved-on --count 2 >names
	expect_text names $'saved-on-1\nsaved-on-2'
	for i in 1 2; do
		try saved-copy-$i 0 lkvm exec saved-on-$i -- sh -c 'hostname; cat /proc/sys/kernel/random/uuid' </dev/null
	done
	expect "random numbers of their own" [ "$(sort -u saved-copy-1.out saved-copy-2.out | wc -l)" = 3 ]
	lkvm stop 'saved-on-*'
	# shellcheck disable=SC2016
	try saved-fork 5 lkvm fork saved-on --count 3 --prefix shard -- sh -c 'echo "copy $LKVM_COPY"; [ $LKVM_COPY = 1 ] || exit $((LKVM_COPY + 3))'
	expect "what each prints" [ "$(sort saved-fork.out | xargs)" = 'copy 1 copy 2 copy 3' ]
	expect "the copies are gone" [ -z "$(lkvm list --quiet 'shard*')" ]
	touch stop
	wait
	expect_status saved-on 17
	cat saved.out saved-on.out >both
	expect "each number once: $(xargs <both)" cmp both <(seq "$(wc -l <both)")
	expect "the same in the file" grep -qx "$(tail -n 1 both)" log
	# With another command
	run saved-other --restore snap -- sh -c 'cat; exit 4' <<<text
	expect_status saved-other 4
	expect_text saved-other.out text
	run saved-no-command --restore snap --root / -- true </dev/null
	expect_status saved-no-command 125
	# One that ran none
	try saved-idle 0 lkvm run --detach --name saved-idle -k "$CLOUD" -c 1 -m 256 </dev/null
	expect "to save it" lkvm snapshot saved-idle idle --stop
	run saved-shell --restore idle <<<'echo "shell $((1 + 1))"; exit 5'
	expect_status saved-shell 5
	expect_text saved-shell.out "shell 2"
	try saved-still 0 lkvm run --restore idle --detach --name saved-still </dev/null
	try saved-still-exec 6 lkvm exec saved-still -- sh -c 'exit 6' </dev/null
	lkvm stop saved-still
}

test_dax-saved()
{
	mkdir daxsaved
	head -c 4194304 /dev/zero | tr '\0' . | tee daxsaved/kept >daxsaved/replaced
	session dax-saved "$CLOUD" --dax on --rw "$PWD/daxsaved" -- "$FS_DAX" saved "$PWD/daxsaved" </dev/null &
	wait_line dax-saved "guest: dax: written"
	expect "to save it" lkvm snapshot dax-saved dax.snap --stop
	wait
	expect "the guest's word" [ "$(tail -c +1048577 daxsaved/kept | head -c 12)" = "guest's word" ]
	printf '#' | dd of=daxsaved/kept bs=1M seek=2 conv=notrunc status=none
	echo "new" >daxsaved/new
	mv daxsaved/new daxsaved/replaced
	run dax-saved-on --restore dax.snap </dev/null
	expect_status dax-saved-on 0
	expect_text dax-saved-on.out "guest: dax: the host's word
guest: dax: its own word
guest: dax: what was mapped is zeros
guest: dax: Stale file handle
guest: dax: a new one by its name"
	expect "what it writes then" [ "$(tail -c +3145729 daxsaved/kept | head -c 1)" = '!' ]
}

# lists_after NAME KERNEL: what modprobe finds in a guest that was saved, by what it has read before and by the rest
lists_after()
{
	local name=$1 kernel=$2
	session "$name" "$kernel" -- sleep 1000 </dev/null &
	wait_until "guest $name" booted "$name"
	try "$name-before" 0 lkvm exec "$name" -- modprobe fs-vfat </dev/null
	expect "to save $name" lkvm snapshot "$name" "$name.snap" --stop
	wait
	run "$name-on" --restore "$name.snap" -- sh -c '
		modprobe -r vfat fat && modprobe fs-vfat && modprobe fs-squashfs && modinfo -n loop &&
		grep -c -E "^(vfat|squashfs) " /proc/modules' </dev/null
	expect_status "$name-on" 0
	expect_text "$name-on.out" "/lib/modules/${CLOUD##*/vmlinuz-}/kernel/drivers/block/loop.ko"$'\n2'
	expect_empty "$name-on.err"
}

test_lists()
{
	make_build "${CLOUD##*/vmlinuz-}"
	lists_after lists "$CLOUD"
	lists_after lists-built "$PWD/build"
	mv build other
	run lists-gone --restore lists-built.snap -- sh -c 'modprobe fs-squashfs 2>/dev/null || echo none' </dev/null
	expect_status lists-gone 0
	expect_text lists-gone.out none
	expect "it is told" grep -q "finds no modules in the guest any more: the folder '$PWD/build' is gone" lists-gone.err
	cp -r other build
	run lists-other --restore lists-built.snap -- true </dev/null
	expect_status lists-other 0
	expect "it is told" grep -q "the folder '$PWD/build' is another one" lists-other.err
}
