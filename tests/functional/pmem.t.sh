#!/usr/bin/env bash
# Persistent memory: what --pmem refuses, where it is, and what a guest, its file and others see of each other. What a
# driver does with it: hostile.t.sh, and tests/testbed/memory-job.sh for Linux's.
# shellcheck source=tests/functional/snapshot.bash
. "${0%/*}/snapshot.bash"
: "${INJECT:?is the path of inject.so}"

kernel=$GUESTS/bzimage.bz
truncate -s 3M file

# ---- what is refused ----

# refused TEXT OPTION...: --dry-run ends with this line
refused()
{
	local text=$1
	shift
	t_fails 125 "$text" "$LKVM" run --dry-run -c 1 -m 256 -k "$kernel" "$@"
}

refused "persistent memory 'none': No such file or directory" --pmem none
refused "persistent memory '/' is no regular file" --pmem /
refused "persistent memory '/dev/null' is no regular file" --pmem /dev/null,ro
: >empty
refused "persistent memory 'empty' is empty" --pmem empty
refused "option '--pmem': '' is not FILE[,ro]" --pmem ''
refused "option '--pmem': ',ro' is not FILE[,ro]" --pmem ,ro
refused "option '--pmem': unknown 'rw', did you mean 'ro'? (known: ro)" --pmem file,rw
refused "option '--pmem': 'ro=yes' is neither on nor off" --pmem file,ro=yes
many=()
for _ in {1..17}; do
	many+=(--pmem 'file,ro')
done
refused "option '--pmem': more than 16 files" "${many[@]}"
truncate -s 8E large 2>/dev/null || truncate -s 1P large 2>/dev/null
if [ -s large ]; then
	t_run "$LKVM" run --dry-run -c 1 -m 256 -k "$kernel" --pmem large
	t_status 125
	t_like 'more than there are addresses' "$(t_stderr)" \
		"^lkvm: pmem0: 'large' needs [0-9]+MB of addresses above RAM, and those of this host end at 2\^[0-9]+$"
	rm large
else
	t_skip 'more than there are addresses' 'this file system has no files of a petabyte'
fi

# ---- where it is: above RAM, each from a section of Linux's on ----

# place RAM OPTION...: what --dry-run says of them
place()
{
	t_run "$LKVM" run --dry-run -c 1 -m "$1" -k "$kernel" "${@:2}"
	[ "$t_rc" -eq 0 ] || t_stderr
	t_stdout | sed -n 's/^pmem: *//p'
}

cp file 'a,b'
t_is 'behind the gap, a whole number of 2 MB' "$(place 256 --pmem file)" 'pmem0: file, 4MB at 0x100000000'
t_is 'above RAM' "$(place 4096 --pmem file,ro)" 'pmem0: file, 4MB at 0x140000000, read-only'
t_is 'two' "$(place 4096 --pmem file,ro --pmem a,,b)" $'pmem0: file, 4MB at 0x140000000, read-only\npmem1: a,b, 4MB at 0x148000000'

# ---- the guest and the file ----

# word_at OFFSET: the word that the file has there
word_at()
{
	od -An -tx4 -j "$1" -N 4 file | tr -d ' '
}

begin pmem.mb --pmem file
t_ok 'it is where --dry-run says' heard '^start 0x100000000$'
t_ok 'and as large' heard '^bytes 0x400000$'
printf w >&4
heard '^written$'
t_is 'what is written is in the page cache at once' "$(word_at 4096)" 5a5a5a5a
t_is 'the file stays as long as it is' "$(stat -c %s file)" $((3 << 20))
printf 'fr' >&4
t_ok 'a flush is done' heard '^flush 0x0$'
t_ok 'it reads what it wrote' heard '^second page 0x5a5a5a5a$'
t_ok 'where the file is no more, too' heard '^last word 0x5a5a5a5a$'
t_fails 125 "disk 'file' is in use for writing by process $g_pid" "$LKVM" run -c 1 -m 64 -k "$GUESTS/pmem.mb" --pmem file,ro
finish 1 'the guest ends well'
t_run "$LKVM" run --debug-exit -c 1 -m 64 -k "$GUESTS/pmem.mb" --pmem file < <(printf rq)
t_status 1
t_stdout_like '^second page 0x5a5a5a5a.?$'
t_stdout_like '^last word 0x0.?$'

# ---- a flush is one of the file ----

begin_injected()
{
	LD_PRELOAD=$INJECT INJECT_FAIL=fdatasync:1:5 INJECT_HIT=$T_TMP/hit begin "$@"
}

begin_injected pmem.mb --pmem file
printf w >&4
heard '^written$'
t_ok 'nobody has asked for the disk yet' test ! -e hit
printf f >&4
t_ok 'a flush that fails is told' heard '^flush 0x1$'
t_ok 'it was fdatasync()' test -e hit
printf f >&4
t_ok 'and nor is any later one good' heard '^flush 0x1$'
printf q >&4
g_wait
exec 4>&-
t_is 'what lkvm says' "$t_rc $(<stderr.test)" "1 lkvm: write persistent memory 'file': Input/output error"
rm hit
begin_injected pmem.mb --pmem file,ro
printf f >&4
t_ok 'of what is only read there is nothing to flush' heard '^flush 0x0$'
t_ok 'so nobody is asked' test ! -e hit
finish 1 'the guest ends well'

# ---- many read it ----

before=$(md5sum <file)
begin pmem.mb --pmem file,ro
heard '^bytes '
printf wr >&4
t_ok 'a write does not end the guest' heard '^written$'
t_ok 'and has no effect' heard '^last word 0x0$'
t_run "$LKVM" run --debug-exit -c 1 -m 64 -k "$GUESTS/pmem.mb" --pmem file,ro < <(printf rq)
t_status 1
t_stdout_like '^second page 0x5a5a5a5a.?$'
t_fails 125 "disk 'file' is in use by process $g_pid" "$LKVM" run -c 1 -m 64 -k "$GUESTS/pmem.mb" --pmem file

# ---- saved with a guest that reads it ----

t_run "$LKVM" snapshot test saved
t_status 0
t_run "$LKVM" fork test --count 2
t_stdout_is $'test-1\ntest-2'
for name in test-1 test-2; do
	t_run "$LKVM" console --lines 9 $name < <(printf rq)
	t_stdout_like '^second page 0x5a5a5a5a.?$'
done
finish 1 'the guest ends well'
t_is 'the file is as it was' "$(md5sum <file)" "$before"
restore saved rfq
t_status 1
t_stdout_like '^second page 0x5a5a5a5a.?$'
t_stdout_like '^flush 0x0.?$'
t_fails 125 "--pmem does not go with --restore: the machine is there already" "$LKVM" run --restore saved --pmem file,ro
touch -d '2 days ago' file
t_fails 125 "Persistent memory '$T_TMP/file' changed since the snapshot (it was written); refusing to restore" \
	"$LKVM" run --restore saved
mv file elsewhere
t_fails 125 "persistent memory '$T_TMP/file', which the snapshot needs as it was: No such file or directory" \
	"$LKVM" run --restore saved
mv elsewhere file
begin pmem.mb --pmem file
heard '^bytes '
t_fails 1 "guest 'test' cannot be saved in 'x': persistent memory 'file': the guest may write to it (it is not 'ro')" \
	"$LKVM" snapshot test x
finish 1 'the guest goes on'

# ---- somebody cuts the file ----

for options in file file,ro; do
	truncate -s 3M file
	begin pmem.mb --pmem $options
	heard '^bytes '
	printf r >&4
	heard '^last word '
	truncate -s 4096 file
	printf r >&4
	t_ok "what is gone reads as zeros ($options)" heard '^second page 0x0$'
	printf wr >&4
	if [ $options = file ]; then
		t_ok 'and can be written' heard '^second page 0x5a5a5a5a$'
	else
		t_ok 'and stays' heard '^second page 0x0$'
	fi
	printf f >&4
	t_ok "a flush is done ($options)" heard '^flush 0x0$'
	t_is "it does not come back ($options)" "$(stat -c %s file)" 4096
	finish 1 "the guest goes on ($options)"
done
t_done
