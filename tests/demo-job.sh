#!/bin/busybox sh
# shellcheck shell=dash
# The part of tests/demo.sh that runs where KVM can run Linux. $1: what the guest is to do.
# Status 0 if the guest powered off, or was ended from outside (Ctrl-a x).
size=$(stty size 2>/dev/null | tr ' ' x)
lkvm run -m 256 -c 1 -k bzImage -i initrd --result result -p "quiet lkvm.test=$1 ${size:+lkvm.size=$size}"
status=$?
[ $status -ne 0 ] || grep -qE '"reason": *"(poweroff|stop)"' result || status=1
exit $status
