#!/usr/bin/env bash
# The FUSE server under a real client, this machine's own kernel: what fs-calls and others get there is
# what they get on the file system itself. Wants root and /dev/fuse.
. "${0%/*}/lib.sh"
: "${FUSE_MOUNT:?is the path of fuse-mount}" "${FS_CALLS:?is the path of fs-calls}" "${FS_RANDOM:=${FS_CALLS%/*}/fs-random}"
FS_CALLS=$(realpath "$FS_CALLS") FS_RANDOM=$(realpath "$FS_RANDOM")

mkdir -p "$T_TMP"/{share,host,at}
if ! "$FUSE_MOUNT" "$T_TMP/share" "$T_TMP/at" -- true 2>"$T_TMP/why"; then
	echo "1..1"
	echo "ok 1 - FUSE # SKIP $(tail -n 1 "$T_TMP/why")"
	exit 0
fi

# mounted [ro|reload] CMD...: with the folder share at at
mounted()
{
	local how=()
	case $1 in
	ro | reload)
		how=("$1")
		shift
		;;
	esac
	timeout 300 "$FUSE_MOUNT" "$T_TMP/share" "$T_TMP/at" ${how[@]+"${how[@]}"} -- "$@"
}

mkdir "$T_TMP/share/calls"
got=$(mounted "$FS_CALLS" "$T_TMP/at/calls")
wanted=$("$FS_CALLS" "$T_TMP/host")
t_is 'more than 100 calls' "$(($(wc -l <<<"$wanted") > 100))" 1
t_is 'system calls give what they give on the host, but for a list' \
	"$(diff <(echo "$wanted") <(echo "$got") | sed -n 's/^> //p')" "$(cat tests/testbed/fs-virtiofs.differ)"

for seed in 1 2 3; do
	t_is "operations at random, seed $seed" "$(mounted "$FS_RANDOM" "$T_TMP/at/random" $seed 3000)" \
		"$("$FS_RANDOM" "$T_TMP/share/random")"
done
rm "$T_TMP/share/random"

# Four at a time copy, read, move and remove.
copy()
{
	cd "$1/at" || exit
	for i in 1 2 3 4; do
		{
			cp -r "$2" "t$i"
			diff -r "$2" "t$i"
			mv "t$i" "u$i"
		} &
	done
	wait
	rm -r u1 u2
	echo ./*
}
export -f copy
t_is 'trees of files' "$(mounted bash -c 'copy "$@"' - "$T_TMP" "$PWD/tests/unit" 2>&1)" './calls ./u3 ./u4'
t_ok 'the host sees them' diff -r tests/unit "$T_TMP/share/u4"

# Another server takes the place of the one that there is, again and again.
mv "$T_TMP/share/u3" "$T_TMP/share/u4" "$T_TMP/host"
t_is 'trees of files, while the server is another one' \
	"$(mounted reload bash -c 'copy "$@"' - "$T_TMP" "$PWD/tests/unit" 2>&1)" './calls ./u3 ./u4'
t_ok 'the host sees them, too' diff -r tests/unit "$T_TMP/share/u3"

# One that stays open, and whose name is another one now and then
lines()
{
	local i
	exec 5>"$1/at/lines"
	for ((i = 1; i <= 20000; i++)); do
		echo "$i" >&5
		[ $((i % 1000)) -ne 0 ] || { mv "$1/at/lines" "$1/at/new" && mv "$1/at/new" "$1/at/lines"; }
	done
}

# Each of two has the lock when it counts.
count()
{
	local i
	for ((i = 0; i < 300; i++)); do
		{
			flock 6
			echo $(($(cat "$1/at/count") + 1)) >"$1/at/count"
		} 6>"$1/at/lock"
	done
}
export -f lines count
t_is 'a file that stays open' "$(mounted reload bash -c 'lines "$@"' - "$T_TMP" 2>&1)" ''
t_is 'all was written' "$(sha256sum <"$T_TMP/share/lines")" "$(seq 1 20000 | sha256sum)"
echo 0 >"$T_TMP/share/count"
t_is 'locks' "$(mounted reload bash -c 'count "$1" & count "$1"; wait' - "$T_TMP" 2>&1)" ''
t_is 'two have counted' "$(cat "$T_TMP/share/count")" 600

mkdir "$T_TMP/share/many"
(cd "$T_TMP/share/many" && seq 1 100000 | sed 's/^/a-file-with-a-longer-name-/' | xargs touch)
t_is 'a folder of 100000 files' "$(mounted ls "$T_TMP/at/many" | sha256sum)" \
	"$(find "$T_TMP/share/many" -mindepth 1 -printf '%f\n' | LC_ALL=C sort | sha256sum)"

head -c 50000000 /dev/urandom >"$T_TMP/share/large"
t_is 'a large file' "$(mounted ro sh -c "sha256sum <$T_TMP/at/large")" "$(sha256sum <"$T_TMP/share/large")"
t_is 'a read-only one' "$(mounted ro touch "$T_TMP/at/new" 2>&1)" \
	"touch: cannot touch '$T_TMP/at/new': Read-only file system"
t_done
