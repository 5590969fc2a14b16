#!/usr/bin/env python3
"""A VNC viewer that counts: screen.py SOCKET PID SECONDS [still]

Meets the server at a UNIX socket, and then for so long has all that changes sent without compression. One line:
  FRAMES-A-SECOND CPU-MS-A-FRAME
CPU is that of all threads of PID but its vCPUs. With "still" it then waits until nothing has come for a second, and looks how
often these threads are woken in the next two:
  WAKE-UPS-A-SECOND
"""
import glob
import os
import select
import socket
import struct
import sys
import time


def threads(pid):
    """Those which are no vCPU: lkvm calls these vcpu/N, QEMU CPU N/KVM"""
    for task in glob.glob(f"/proc/{pid}/task/*"):
        name = open(task + "/comm").read()
        if not name.startswith(("vcpu/", "CPU ")):
            yield task


def cpu_s(pid):
    ticks = 0
    for task in threads(pid):
        fields = open(task + "/stat").read().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def wakes(pid):
    n = 0
    for task in threads(pid):
        for line in open(task + "/status"):
            if line.startswith("voluntary_ctxt_switches:"):
                n += int(line.split()[1])
    return n


def get(sock, n):
    data = bytearray(n)
    view = memoryview(data)
    while view:
        got = sock.recv_into(view)
        if not got:
            sys.exit("screen.py: the server has closed the connection")
        view = view[got:]
    return data


def meet(sock):
    get(sock, 12)
    sock.sendall(b"RFB 003.008\n")
    get(sock, get(sock, 1)[0])
    sock.sendall(b"\1")
    get(sock, 4)
    sock.sendall(b"\1")
    width, height = struct.unpack(">HH", get(sock, 4))
    get(sock, 16)
    get(sock, struct.unpack(">I", get(sock, 4))[0])
    sock.sendall(struct.pack(">BBHi", 2, 0, 1, 0))
    return width, height


def ask(sock, width, height):
    sock.sendall(struct.pack(">BBHHHH", 3, 1, 0, 0, width, height))


def update(sock):
    """Return: how many pixels came"""
    pixels = 0
    kind, _, n = struct.unpack(">BBH", get(sock, 4))
    assert kind == 0
    for _ in range(n):
        _, _, w, h, encoding = struct.unpack(">HHHHi", get(sock, 12))
        assert encoding == 0
        get(sock, w * h * 4)
        pixels += w * h
    return pixels


def main():
    pid, seconds = int(sys.argv[2]), float(sys.argv[3])
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(sys.argv[1])
    width, height = meet(sock)
    pixels, begin = -1, 0
    while pixels < 0 or time.monotonic() < begin + seconds:
        ask(sock, width, height)
        n = update(sock)
        if pixels < 0: # all of it once
            pixels, begin, cpu = 0, time.monotonic(), cpu_s(pid)
        else:
            pixels += n
    took, frames = time.monotonic() - begin, pixels / width / height
    print(f"{frames / took:.1f} {(cpu_s(pid) - cpu) * 1000 / frames:.2f}", flush=True)
    if len(sys.argv) < 5:
        return
    ask(sock, width, height)
    while select.select([sock], [], [], 1)[0]:
        update(sock)
        ask(sock, width, height)
    before = wakes(pid)
    time.sleep(2)
    print((wakes(pid) - before) / 2)


main()
