#!/usr/bin/env bash
# lkvm run -d: what is refused, with which words, and what is taken. No guest is started: a good disk
# gets as far as the kernel, which is not there.
. "${0%/*}/lib.sh"

missing="$T_TMP/missing"
no_kernel="kernel '$missing': No such file or directory"
disk=$T_TMP/disk
truncate -s 1M "$disk"

refused() # MESSAGE DISK...
{
	local message=$1 options=()
	shift
	for d; do
		options+=(-d "$d")
	done
	t_fails 125 "$message" "$LKVM" run -m 64 -c 1 -k "$missing" "${options[@]}"
}

taken() # DISK...
{
	refused "$no_kernel" "$@"
}

# ---- words ----

KEYS='known: ro, direct, ephemeral, serial, format, queues, packed, backing, key-file'

taken "$disk"
taken "$disk,ro"
taken "$disk,ro=on,direct=off,packed"
taken "$disk,serial=01234567890123456789,queues=16,format=raw"
taken "$disk,ephemeral"
refused "option '--disk': the path is missing in ''" ''
refused "option '--disk': the path is missing in ',ro'" ,ro
refused "option '--disk': unknown 'rw', did you mean 'ro'? ($KEYS)" "$disk,rw"
refused "option '--disk': unknown '' ($KEYS)" "$disk,"
refused "option '--disk': unknown 'serail', did you mean 'serial'? ($KEYS)" "$disk,serail=x"
refused "option '--disk': 'ro=yes' is neither on nor off" "$disk,ro=yes"
refused "option '--disk': 'serial' needs a value" "$disk,serial"
refused "option '--disk': 'serial' needs a value" "$disk,serial="
refused "option '--disk': serial '012345678901234567890' is longer than 20 characters" \
	"$disk,serial=012345678901234567890"
for n in 0 17 x -1 1.5; do
	refused "option '--disk': queues '$n' is not a number from 1 to 16" "$disk,queues=$n"
done
refused "option '--disk': unknown format 'QCOW' (known: raw, qcow2, qcow, qed, vmdk, vhdx, vdi, vpc)" \
	"$disk,format=QCOW"

# ---- files ----

cp "$disk" "$T_TMP/with,comma"
taken "$T_TMP/with,,comma"
taken "$T_TMP/with,,comma,ro"
refused "open disk '$T_TMP/none': No such file or directory" "$T_TMP/none"
refused "disk '/' is neither a file nor a block device" /
refused "disk '/dev/null' is neither a file nor a block device" /dev/null
: >"$T_TMP/empty"
refused "disk '$T_TMP/empty' is empty" "$T_TMP/empty"
refused "disk 'http://host/x': of URIs, nbd://, nbds://, nbd+unix:// and nbds+unix:// are known" http://host/x
refused "disk '$disk' is given twice, and the guest may write to it" "$disk" "$disk,ro"
taken "$disk,ro" "$disk,ro"
t_fails 125 "disk '$disk': temporary file in TMPDIR '/nodir': No such file or directory" \
	env TMPDIR=/nodir "$LKVM" run -m 64 -c 1 -k "$missing" -d "$disk,ephemeral"

printf 'QFI\xfb' | dd of="$disk" conv=notrunc status=none
refused "disk '$disk' looks like a qcow2 image; say format=qcow2, or format=raw if the guest is to see it as it is" \
	"$disk"
taken "$disk,format=raw"
printf WithoutFreeSpace | dd of="$disk" conv=notrunc status=none
refused "disk '$disk' looks like a parallels image, which lkvm cannot read; say format=raw if the guest is to see it as it is" \
	"$disk"
truncate -s 0 "$disk"
truncate -s 1M "$disk"

# ---- one guest an image ----

# held MODE: another process has a lock, -x or -s; its number is in $holder
held()
{
	flock --no-fork "$1" "$disk" sleep 1000 &
	holder=$!
	while flock -n -x "$disk" true; do
		sleep 0.05
	done
}

released()
{
	kill "$holder"
	wait "$holder"
} 2>/dev/null

held -x
refused "disk '$disk' is in use for writing by process $holder" "$disk,ro"
refused "disk '$disk' is in use by process $holder" "$disk"
refused "disk '$disk' is in use for writing by process $holder" "$disk,ephemeral"
released
held -s
refused "disk '$disk' is in use by process $holder" "$disk"
taken "$disk,ro" "$disk,ephemeral"
released
taken "$disk"

# ---- other formats ----

image=$T_TMP/image.qcow2
qemu-img create -q -f qcow2 "$image" 10M
taken "$image"
taken "$image,ro" "$image,ephemeral"

# ---- QEMU and its tools use an image, or it is behind another one ----

# served OPTION... FILE: qemu-nbd has FILE; its number is in $holder
served()
{
	rm -f "$T_TMP/served"
	qemu-nbd -t -k "$T_TMP/served" "$@" &
	holder=$!
	while [ ! -S "$T_TMP/served" ]; do
		sleep 0.05
	done
}

served -f raw "$disk"
refused "disk '$disk' is in use by process $holder" "$disk"
refused "disk '$disk' is in use for writing by process $holder" "$disk,ro"
released
served -r -f raw "$disk"
refused "disk '$disk' is in use by process $holder" "$disk"
taken "$disk,ro" "$disk,ephemeral"
released
taken "$disk"
top=$T_TMP/top.qcow2
qemu-img create -q -f qcow2 -b "$disk" -F raw "$top"
served -f qcow2 "$top"
refused "disk '$disk' is in use by process $holder" "$disk"
taken "$disk,ro"
released
taken "$top,backing=on"
refused "disk '$top': Is another process using the image [$disk]?" "$disk" "$top,backing=on"
taken "$disk,ro" "$top,backing=on"

# ---- images of strangers (all formats: tests/unit/test_image.c) ----

refused "disk '$top' names the backing file '$disk'; say backing=on if it is meant" "$top"
refused "disk '$top' names the backing file '$disk'; say backing=on if it is meant" "$top,ro"
taken "$top,backing"
taken "$top,backing=$disk"
taken "$top,backing=$T_TMP"
refused "disk '$top' names the backing file '$disk', which no backing= allows" "$top,backing=$image"
refused "disk '$top': backing '$T_TMP/none': No such file or directory" "$top,backing=$T_TMP/none"
refused "option '--disk': 'backing' needs a value" "$top,backing="
refused "disk '$disk': key-file= is for encrypted qcow2 images" "$disk,key-file=$disk"
printf word >"$T_TMP/key"
# It measures how fast this machine is, and gives up where the clock of CPU time stands for too long.
for _ in 1 2 3 4 5 6 7 8 9 10; do
	qemu-img create -q -f qcow2 --object "secret,id=k,file=$T_TMP/key" \
		-o encrypt.format=luks,encrypt.key-secret=k,encrypt.iter-time=10 "$T_TMP/secret.qcow2" 1M && break
done
refused "disk '$T_TMP/secret.qcow2': '$T_TMP/secret.qcow2' is encrypted; say key-file=FILE" "$T_TMP/secret.qcow2"
taken "$T_TMP/secret.qcow2,key-file=$T_TMP/key"

mv "$image" "$T_TMP/image"
taken "$T_TMP/image,format=qcow2"
mv "$T_TMP/image" "$image"
truncate -s 1M "$T_TMP/wrong.qcow2"
refused "disk '$T_TMP/wrong.qcow2': it is not in qcow2 format" \
	"$T_TMP/wrong.qcow2"
refused "open disk '$T_TMP/none.qcow2': No such file or directory" "$T_TMP/none.qcow2"
mkdir "$T_TMP/bin"
t_fails 125 "disk '$image': format qcow2 needs qemu-nbd, which is not installed (Debian: qemu-utils)" \
	env PATH="$T_TMP/bin" "$LKVM" run -m 64 -c 1 -k "$missing" -d "$image"
uri="nbd+unix:///?socket=$T_TMP/nobody"
refused "disk '$uri': nbd_aio_connect_uri: connect: No such file or directory" "$uri"

# A file that may not become so large is an error like others, not a signal.
words=$(ulimit -f 0; exec "$LKVM" run -m 64 -c 1 -k "$missing" --result "$T_TMP/result" 2>&1)
t_is 'the status under ulimit -f 0' $? 125
t_like 'what says why' "$words" "^lkvm: write '$T_TMP/result': File too large\$"

t_is "no qemu-nbd is left" "$(pgrep -f "qemu-nbd.*$T_TMP")" ''
t_done
