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

# mounted [ro] CMD...: with the folder share at at
mounted()
{
	local ro=()
	[ "$1" != ro ] || { ro=(ro); shift; }
	timeout 300 "$FUSE_MOUNT" "$T_TMP/share" "$T_TMP/at" ${ro[@]+"${ro[@]}"} -- "$@"
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

mkdir "$T_TMP/share/many"
(cd "$T_TMP/share/many" && seq 1 100000 | sed 's/^/a-file-with-a-longer-name-/' | xargs touch)
t_is 'a folder of 100000 files' "$(mounted ls "$T_TMP/at/many" | sha256sum)" \
	"$(find "$T_TMP/share/many" -mindepth 1 -printf '%f\n' | LC_ALL=C sort | sha256sum)"

head -c 50000000 /dev/urandom >"$T_TMP/share/large"
t_is 'a large file' "$(mounted ro sh -c "sha256sum <$T_TMP/at/large")" "$(sha256sum <"$T_TMP/share/large")"
t_is 'a read-only one' "$(mounted ro touch "$T_TMP/at/new" 2>&1)" \
	"touch: cannot touch '$T_TMP/at/new': Read-only file system"
t_done
