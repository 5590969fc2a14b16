#!/usr/bin/env python3
"""A VNC viewer for tests: vnc.py ADDRESS WORD...

ADDRESS: HOST:PORT or unix:PATH. It meets the server and prints the size and the title of the screen. Then a word each:
  show          all pixels once: "WxH frame COLOUR... inside good|bad", as tests/guest/screen.c draws them
  wait:COLOUR   updates of what changes, until pixel 0 has that colour; prints the pixels that were sent
  raw           tells that it sends scancodes
  key:SYM,CODE  a key down and up (hexadecimal); CODE 0: by its keysym only
  down:SYM      a key that goes down
  point:M,X,Y   the pointer, with a mask of buttons
  size:W,H      wants that size
  close         leaves; without it the connection stays until standard input ends
"""
import socket
import struct
import sys


class Viewer:
    def __init__(self, address):
        if address.startswith("unix:"):
            self.s = socket.socket(socket.AF_UNIX)
            self.s.connect(address[5:])
        else:
            host, port = address.rsplit(":", 1)
            self.s = socket.create_connection((host.strip("[]"), int(port)))
        self.pixels = {}
        assert self.get(12) == b"RFB 003.008\n"
        self.s.sendall(b"RFB 003.008\n")
        kinds = self.get(self.get(1)[0])
        print("security", *kinds)
        if 1 not in kinds:
            self.s.sendall(b"\2")
            self.get(16)
            self.s.sendall(bytes(16))
            code, = struct.unpack(">I", self.get(4))
            print("result", code)
            sys.exit(0)
        self.s.sendall(b"\1")
        assert self.get(4) == bytes(4)
        self.s.sendall(b"\1")
        self.width, self.height = struct.unpack(">HH", self.get(4))
        self.get(16)
        title = self.get(struct.unpack(">I", self.get(4))[0]).decode()
        print(f"{self.width}x{self.height} {title}")

    def get(self, n):
        data = b""
        while len(data) < n:
            more = self.s.recv(n - len(data))
            if not more:
                print("the server has closed the connection")
                sys.exit(1)
            data += more
        return data

    def encodings(self, *which):
        self.s.sendall(struct.pack(">BBH", 2, 0, len(which)) + b"".join(struct.pack(">i", w) for w in which))

    def request(self, incremental):
        self.s.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))

    def update(self):
        """Returns how many pixels came, or None for what is none"""
        kind, _, n = struct.unpack(">BBH", self.get(4))
        assert kind == 0
        count = 0
        for _ in range(n):
            x, y, w, h, encoding = struct.unpack(">HHHHi", self.get(12))
            if encoding == -258:
                return None
            if encoding == -308:
                screens = self.get(4)[0]
                self.get(16 * screens)
                self.width, self.height = w, h
                return None
            assert encoding == 0, encoding
            data = self.get(w * h * 4)
            for i in range(w * h):
                self.pixels[x + i % w, y + i // w] = int.from_bytes(data[i * 4:i * 4 + 3], "little")
            count += w * h
        return count

    def show(self):
        self.request(0)
        while self.update() is None:
            pass
        w, h, p = self.width, self.height, self.pixels
        edge = {p[x, y] for x, y in p if x in (0, w - 1) or y in (0, h - 1)}
        good = all(p[x, y] == 0x550000 + y * 256 + x for x in range(1, w - 1) for y in range(1, h - 1))
        print(f"{w}x{h} frame", *("%06x" % c for c in sorted(edge)), "inside", "good" if good else "bad")

    def wait(self, colour):
        count = 0
        while self.pixels.get((0, 0)) != int(colour, 16):
            self.request(1)
            count += self.update() or 0
        print("came", count)

    def key(self, down, sym, code):
        if code:
            self.s.sendall(struct.pack(">BBHII", 255, 0, down, sym, code))
        else:
            self.s.sendall(struct.pack(">BBHI", 4, down, 0, sym))

    def size(self, w, h):
        self.encodings(0, -308)
        self.s.sendall(struct.pack(">BBHHBB", 251, 0, w, h, 1, 0) + struct.pack(">IHHHHI", 0, 0, 0, w, h, 0))


def main():
    v = Viewer(sys.argv[1])
    v.encodings(0)
    for word in sys.argv[2:]:
        what, _, rest = word.partition(":")
        numbers = [int(n, 16 if what in ("key", "down") else 10) for n in rest.split(",")] if rest and what != "wait" else []
        if what == "show":
            v.show()
        elif what == "wait":
            v.wait(rest)
        elif what == "raw":
            v.encodings(0, -258)
            assert v.update() is None
            print("scancodes are welcome")
        elif what == "key":
            v.key(1, *numbers)
            v.key(0, *numbers)
        elif what == "down":
            v.key(1, numbers[0], 0)
        elif what == "point":
            v.s.sendall(struct.pack(">BBHH", 5, *numbers))
        elif what == "size":
            v.size(*numbers)
            v.request(0)
            # By whole requests it is told the size; then the server has seen the wish, too.
            while v.update() is not None:
                v.request(0)
        elif what == "close":
            return
        else:
            sys.exit(f"vnc.py: what is {word}?")
        sys.stdout.flush()
    sys.stdin.read()


main()
