#!/usr/bin/env python3
"""drgn on a Linux guest of lkvm that runs.

    drgn-live.py NAME [-s VMLINUX]... [SCRIPT [ARG...]]

With a script: runs it as drgn does, with `prog` as the guest. Without: an interactive Python with the same. From another
program: runpy.run_path("drgn-live.py")["live_program"]("NAME").

What the kernel tells of itself (VMCOREINFO) and where it has mapped its memory comes out of the head of a small dump; the
memory itself is read from the lkvm process whenever drgn wants any, so what is seen changes while one looks: `lkvm pause
NAME` makes it stand still. Registers of CPUs are those of the start. Nothing in the guest is asked or changed.

Needs drgn (Debian: python3-drgn, 0.0.22 or later), a vmlinux with debug information, and the right to read the memory of
lkvm's process: its user has it, unless /proc/sys/kernel/yama/ptrace_scope forbids that.
"""
import argparse
import ctypes
import json
import os
import runpy
import struct
import subprocess
import sys
import tempfile

import drgn

libc = ctypes.CDLL(None, use_errno=True)
PT_LOAD = 1


class iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("len", ctypes.c_size_t)]


def read_process(pid, address, count):
    buffer = ctypes.create_string_buffer(count)
    here, there = iovec(ctypes.addressof(buffer), count), iovec(address, count)
    libc.process_vm_readv.restype = ctypes.c_ssize_t
    n = libc.process_vm_readv(pid, ctypes.byref(here), 1, ctypes.byref(there), 1, 0)
    if n < 0:
        err = ctypes.get_errno()
        raise OSError(err, "read the memory of process %d: %s" % (pid, os.strerror(err)))
    if n != count:
        raise OSError("process %d has only %d bytes of %d" % (pid, n, count))
    return buffer.raw


class Guest:
    def __init__(self, name, lkvm="lkvm"):
        self.name, self.lkvm = name, lkvm
        guests = {guest["name"]: guest for guest in json.loads(self.ask("list", "--json"))}
        if name not in guests:
            raise LookupError("there is no guest '%s'" % name)
        self.pid = guests[name]["pid"]
        slots = json.loads(self.ask("debug", "--memmap", "--json", name))["slots"]
        # (guest-physical address, bytes, where lkvm has it)
        self.ram = [(int(s["start"], 16), s["size_bytes"], int(s["host"], 16)) for s in slots if s["name"] == "RAM"]

    def ask(self, *words):
        return subprocess.run([self.lkvm, *words], check=True, stdout=subprocess.PIPE).stdout

    def read(self, physical, count):
        for start, size, host in self.ram:
            if start <= physical and physical + count <= start + size:
                return read_process(self.pid, host + physical - start, count)
        raise drgn.FaultError("not in the guest's RAM", physical)

    def dump(self, path):
        self.ask("dump", "--exclude", "free,cache,user,zero", self.name, path)


def loads_of(path):
    """(virtual address, guest-physical address, bytes) of each part of an ELF core"""
    with open(path, "rb") as core:
        head = core.read(64)
        at, = struct.unpack_from("<Q", head, 32)
        size, n = struct.unpack_from("<HH", head, 54)
        core.seek(at)
        for _ in range(n):
            kind, _, _, virtual, physical, _, bytes_ = struct.unpack_from("<IIQQQQQ", core.read(size))
            if kind == PT_LOAD:
                yield virtual, physical, bytes_


def live_program(name, lkvm="lkvm"):
    """A drgn.Program whose memory is the guest's; debug information is the caller's to load."""
    guest = Guest(name, lkvm)
    prog = drgn.Program()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "head")
        guest.dump(path)
        prog.set_core_dump(path)  # it stays open
        loads = list(loads_of(path))
    # Segments that come later win: none of the dump's own memory is left. Other addresses go by the page tables.
    for start, size, _ in guest.ram:
        prog.add_memory_segment(start, size, lambda address, count, offset, physical: guest.read(address, count), True)
    for virtual, physical_start, size in loads:
        if virtual:
            prog.add_memory_segment(
                virtual, size,
                lambda address, count, offset, physical, at=physical_start: guest.read(at + offset, count))
    return prog


def main():
    parser = argparse.ArgumentParser(description="drgn on a Linux guest of lkvm that runs")
    parser.add_argument("-s", "--symbols", metavar="VMLINUX", action="append", default=[])
    parser.add_argument("--lkvm", default="lkvm", help="the program")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("script", metavar="SCRIPT", nargs="?")
    parser.add_argument("args", metavar="ARG", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    try:
        prog = live_program(options.name, options.lkvm)
    except (OSError, LookupError, subprocess.CalledProcessError) as err:
        sys.exit("drgn-live: %s" % err)
    if options.symbols:
        prog.load_debug_info(options.symbols)
    else:
        prog.load_debug_info(main=True)
    names = {"prog": prog, "drgn": drgn}
    if options.script:
        sys.argv = [options.script, *options.args]
        runpy.run_path(options.script, init_globals=names, run_name="__main__")
    else:
        import code
        code.interact(banner="prog is guest '%s'" % options.name, local=names, exitmsg="")


if __name__ == "__main__":
    main()
