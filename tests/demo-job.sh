#!/bin/busybox sh
# shellcheck shell=dash
# The part of tests/demo.sh that runs where KVM can run Linux. $1: what the guest is to do.
size=$(stty size 2>/dev/null | tr ' ' x)
exec lkvm run -m 256 -c 1 -k bzImage -i initrd -p "quiet lkvm.test=$1 lkvm.size=${size:-24x80}"
