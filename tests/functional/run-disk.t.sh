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

taken "$disk"
taken "$disk,ro"
taken "$disk,ro=on,direct=off,packed"
taken "$disk,serial=01234567890123456789,queues=16,format=raw"
taken "$disk,ephemeral"
refused "option '--disk': the path is missing in ''" ''
refused "option '--disk': the path is missing in ',ro'" ,ro
refused "option '--disk': unknown 'rw', did you mean 'ro'?" "$disk,rw"
refused "option '--disk': unknown ''" "$disk,"
refused "option '--disk': unknown 'serail', did you mean 'serial'?" "$disk,serail=x"
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
taken "$T_TMP/empty"

printf 'QFI\xfb' | dd of="$disk" conv=notrunc status=none
refused "disk '$disk' looks like a qcow2 image; say format=qcow2, or format=raw if the guest is to see it as it is" \
	"$disk"
taken "$disk,format=raw"
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
taken "$top"
refused "disk '$top': Is another process using the image [$disk]?" "$disk" "$top"
taken "$disk,ro" "$top"

mv "$image" "$T_TMP/image"
taken "$T_TMP/image,format=qcow2"
mv "$T_TMP/image" "$image"
truncate -s 1M "$T_TMP/wrong.qcow2"
refused "disk '$T_TMP/wrong.qcow2': qemu-nbd: Failed to blk_new_open '$T_TMP/wrong.qcow2': Image is not in qcow2 format" \
	"$T_TMP/wrong.qcow2"
refused "open disk '$T_TMP/none.qcow2': No such file or directory" "$T_TMP/none.qcow2"
mkdir "$T_TMP/bin"
t_fails 125 "disk '$image': format qcow2 needs qemu-nbd, which is not installed (Debian: qemu-utils)" \
	env PATH="$T_TMP/bin" "$LKVM" run -m 64 -c 1 -k "$missing" -d "$image"
uri="nbd+unix:///?socket=$T_TMP/nobody"
refused "disk '$uri': nbd_aio_connect_uri: connect: No such file or directory" "$uri"
t_is "no qemu-nbd is left" "$(pgrep -f "qemu-nbd.*$T_TMP")" ''
t_done
