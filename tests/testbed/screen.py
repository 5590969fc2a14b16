#!/usr/bin/env python3
"""A Linux guest's end of the tests of its screen: screen.py WORD...

  draw         fill the frame buffer: pixel (x, y) is (x & 255) << 16 | (y & 255) << 8 | 0x5a; prints its size
  hear N       print N events of the keyboard and the tablet: "NAME TYPE CODE VALUE", but for EV_SYN and repeats
"""
import glob
import os
import select
import struct
import sys

EVENT = struct.Struct("llHHi")


def draw():
    size = open("/sys/class/graphics/fb0/virtual_size").read().strip().split(",")
    width, height = int(size[0]), int(size[1])
    stride = int(open("/sys/class/graphics/fb0/stride").read())
    rows = bytearray()
    for y in range(height):
        row = b"".join(bytes((0x5a, y & 255, x & 255, 0)) for x in range(width))
        rows += row + bytes(stride - len(row))
    fd = os.open("/dev/fb0", os.O_WRONLY)
    done = 0
    while done < len(rows):
        done += os.write(fd, rows[done:])
    os.close(fd)
    print(f"{width}x{height}", flush=True)


def name_of(device):
    return open(f"/sys/class/input/{os.path.basename(device)}/device/name").read().strip()


def hear(n):
    names = {os.open(d, os.O_RDONLY): name_of(d) for d in sorted(glob.glob("/dev/input/event*"))}
    names = {fd: name for fd, name in names.items() if name.startswith("lkvm ")}
    print("hears", *names.values(), flush=True)
    while n:
        for fd in select.select(list(names), [], [])[0]:
            _, _, kind, code, value = EVENT.unpack(os.read(fd, EVENT.size))
            if kind and value != 2 and n:
                print(names[fd], kind, code, value, flush=True)
                n -= 1


def main():
    words = sys.argv[1:]
    if words[0] == "draw":
        draw()
    elif words[0] == "hear":
        hear(int(words[1]))


main()
