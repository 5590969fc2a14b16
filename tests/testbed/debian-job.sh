#!/usr/bin/env bash
# The tests of tests/testbed/debian.sh, where KVM can run Linux; $DEBIAN is the folder that debian-disk.sh has made.
tests="
ssh        ssh to systemd's sshd by vsock, as systemd-ssh-proxy(1) has it
ovmf       OVMF boots the disk as it is, to its login; lkvm stop is its power button
"

# shellcheck source=tests/testbed/session-helpers.sh
. "${0%/*}/session-helpers.sh"
per_guest=1500

# in-debian COMMAND...: as on a Debian 13; this folder is /mnt there
cat >bin/in-debian <<'END'
#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
exec unshare --mount sh -c 'mount --bind "$DEBIAN" root && mount --bind . root/mnt && mount -t proc proc root/proc &&
	mount --bind /dev root/dev && exec chroot root "$@"' sh "$@"
END
chmod +x bin/in-debian
mkdir root

# answers: the guest, whose name for ssh is $at; or it has ended
answers()
{
	ended debian || timeout 60 in-debian ssh -F /mnt/config "$at" true </dev/null 2>ssh.err
}

test_ssh()
{
	local at=root@vsock-mux/mnt/sockets/debian.vsock
	[ "$(id -u)" = 0 ] || { skip "only root can change its root"; return; }
	in-debian ssh-keygen -q -t ed25519 -N '' -f /mnt/key </dev/null
	cat >config <<-'END'
		Host vsock-mux/*
			ProxyCommand /usr/lib/systemd/systemd-ssh-proxy %h %p
			ProxyUseFdpass yes
			CheckHostIP no
			StrictHostKeyChecking no
			UserKnownHostsFile /dev/null
			IdentityFile /mnt/key
			LogLevel ERROR
	END
	start debian -k "$DEBIAN/boot/vmlinuz" -i "$DEBIAN/boot/initrd.img" -c 1 -m 512 -d "$DEBIAN.disk,ephemeral" \
		--vsock -p "root=LABEL=root systemd.set_credential_binary=ssh.authorized_keys.root:$(base64 -w0 key.pub)"
	exec 9>debian.in
	wait_until "ssh to the guest" answers
	try ssh-status 3 in-debian ssh -F /mnt/config $at 'cat; uname -n; exit 3' <<<"there and back"
	expect_text ssh-status.out $'there and back\ndebian-13'
	expect_empty ssh-status.err
	head -c 3000000 /dev/urandom >file
	try ssh-file 0 in-debian ssh -F /mnt/config $at 'cat >/run/file; md5sum </run/file' <file
	expect_text ssh-file.out "$(md5sum <file)"
	try ssh-off 0 in-debian ssh -F /mnt/config $at 'systemctl poweroff --no-block' </dev/null
	wait_end debian
	expect_status debian 0
}

test_ovmf()
{
	cp /usr/share/OVMF/OVMF_VARS_4M.fd ovmf.vars
	start ovmf -c 1 -m 1024 --firmware /usr/share/OVMF/OVMF_CODE_4M.fd --firmware-vars ovmf.vars -d "$DEBIAN.disk,ephemeral"
	exec 9>ovmf.in
	wait_line ovmf 'debian-13 login:'
	try ovmf-stop 0 lkvm stop -g 600 ovmf
	wait_end ovmf
	expect_status ovmf 0
	expect_line ovmf ".*reboot: Power down.*"
}

run_tests "$@"
