#!/usr/bin/env python3
"""What is on a picture that `lkvm screenshot` has written: picture.py FILE

Its size, then "frame COLOUR" and "inside good" if they are those of tests/guest/screen.c.
"""
import struct
import sys
import zlib


def paeth(a, b, c):
    p = a + b - c
    pa, pb, pc = abs(p - a), abs(p - b), abs(p - c)
    return a if pa <= pb and pa <= pc else b if pb <= pc else c


def read(path):
    """Width, height, and the lines, three bytes a pixel"""
    data = open(path, "rb").read()
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


def main(path):
    width, height, lines = read(path)

    def pixel(x, y):
        return int.from_bytes(lines[y][x * 3:x * 3 + 3], "big")
    edge = {pixel(x, y) for y in range(height) for x in range(width) if x in (0, width - 1) or y in (0, height - 1)}
    good = all(pixel(x, y) == 0x550000 + y * 256 + x for y in range(1, height - 1) for x in range(1, width - 1))
    print(f"{width}x{height} frame", *("%06x" % p for p in sorted(edge)), "inside", "good" if good else "bad")


main(sys.argv[1])
