#!/usr/bin/env python3
"""What is on a picture, one that `lkvm screenshot` has written or the screen of an X server (Xvfb -fbdir): picture.py WORD FILE [SIZE]

  frame        its size, then "frame COLOUR" and "inside good" if they are those of tests/guest/screen.c
  drawn        "WIDTHxHEIGHT at X,Y": where on it is what tests/testbed/screen.py draws, of this SIZE, else as large as the
               picture; "none" if it is not there
"""
import struct
import sys
import zlib


def paeth(a, b, c):
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def window_dump(data):
    """As read()"""
    head = struct.unpack(">20I", data[:80])
    header_bytes, version, width, height, big, bits, stride, colours = (head[i] for i in (0, 1, 4, 5, 7, 11, 12, 19))
    assert (version, bits) == (7, 32)
    at, lines = header_bytes + colours * 12, []
    for y in range(height):
        row = data[at + y * stride:at + y * stride + width * 4]
        line = bytearray(width * 3)
        for i in range(3):
            line[i::3] = row[1 + i if big else 2 - i::4]
        lines.append(line)
    return width, height, lines


def read(path):
    """Width, height, and the lines, three bytes a pixel"""
    data = open(path, "rb").read()
    if data[:4] != b"\x89PNG":
        return window_dump(data)
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(data):
        n, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + n]
        assert struct.unpack(">I", data[at + 8 + n:at + 12 + n])[0] == zlib.crc32(kind + body)
        if kind == b"IHDR":
            width, height, depth, colour, _, _, lace = struct.unpack(">IIBBBBB", body)
            assert (depth, colour, lace) == (8, 2, 0)
        elif kind == b"IDAT":
            packed += body
        at += 12 + n
    raw, lines, last = zlib.decompress(packed), [], bytes(width * 3)
    for y in range(height):
        how, line = raw[y * (width * 3 + 1)], bytearray(raw[y * (width * 3 + 1) + 1:(y + 1) * (width * 3 + 1)])
        for i in range(width * 3):
            left, up = line[i - 3] if i > 2 else 0, last[i]
            corner = last[i - 3] if i > 2 else 0
            line[i] = (line[i] + (0, left, up, (left + up) // 2, paeth(left, up, corner))[how]) & 255
        lines.append(line)
        last = line
    return width, height, lines


def frame(path):
    width, height, lines = read(path)

    def pixel(x, y):
        return int.from_bytes(lines[y][x * 3:x * 3 + 3], "big")
    edge = {pixel(x, y) for y in range(height) for x in range(width) if x in (0, width - 1) or y in (0, height - 1)}
    good = all(pixel(x, y) == 0x550000 + y * 256 + x for y in range(1, height - 1) for x in range(1, width - 1))
    print(f"{width}x{height} frame", *("%06x" % p for p in sorted(edge)), "inside", "good" if good else "bad")


def drawn(path, size=None):
    width, height, lines = read(path)
    if size:
        width, height = map(int, size.split("x"))
    wanted = [b"".join(bytes((x & 255, y & 255, 0x5a)) for x in range(width)) for y in range(min(height, 256))]
    for top in range(len(lines) - height + 1):
        left = lines[top].find(wanted[0])
        if left >= 0 and all(lines[top + y].startswith(wanted[y & 255], left) for y in range(height)):
            print(f"{width}x{height} at {left // 3},{top}")
            return
    print("none")


{"frame": frame, "drawn": drawn}[sys.argv[1]](*sys.argv[2:])
