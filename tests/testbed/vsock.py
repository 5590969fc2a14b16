#!/usr/bin/python3
"""Both ends of a vsock, for tests/testbed/vsock-job.sh and the bench.

In a guest:     serve PORT          streams at PORT, messages at PORT + 1; the first line or message says what is wanted:
                                    echo; sink: all of it, the answer is its checksum; source BYTES; hold: nothing
                call PORT WORD...   the same to a program of the host; what it says goes to standard output
                each PORT CMD...    run it for each who comes; the connection is its standard input and output
On the host:    opened PATH PORT N  N connections one after the other, each with a word each way
                atonce PATH PORT N  N at the same time
                messages PATH PORT  of all sizes, both ways
                cut PATH PORT       reset in the middle
                host SOCKET         a server as that of the guest, of streams; host SOCKET seqpacket: of messages
"""
import hashlib
import os
import socket
import subprocess
import sys
import threading

BLOCK = bytes(range(256)) * 256


def blocks(total):
    while total:
        n = min(total, len(BLOCK))
        yield BLOCK[:n]
        total -= n


def read_line(s):
    line = b""
    while not line.endswith(b"\n"):
        c = s.recv(1)
        if not c:
            return b""
        line += c
    return line


def checksum(s):
    h = hashlib.md5()
    while True:
        data = s.recv(1 << 17)
        if not data:
            return h.hexdigest()
        h.update(data)


def answer(s, messages):
    word = (s.recv(1000) if messages else read_line(s)).split()
    if not word:
        return
    if word[0] == b"echo":
        while True:
            data = s.recv(1 << 18)
            if not data:
                return
            s.sendall(data)
    elif word[0] == b"sink":
        s.sendall(checksum(s).encode() + b"\n")
    elif word[0] == b"source":
        for data in blocks(int(word[1])):
            s.sendall(data)
    elif word[0] == b"hold":
        threading.Event().wait()


def one(s, messages):
    try:
        answer(s, messages)
    except OSError as e:
        print("lost:", e.strerror, flush=True)
    s.close()


def serve(listener, messages):
    while True:
        s, _ = listener.accept()
        threading.Thread(target=one, args=(s, messages), daemon=True).start()


def listen(family, kind, address):
    s = socket.socket(family, kind)
    s.bind(address)
    s.listen(1024)
    return s


def guest_serve(port):
    threading.stack_size(1 << 16)
    for kind, at in ((socket.SOCK_SEQPACKET, port + 1), (socket.SOCK_STREAM, port)):
        listener = listen(socket.AF_VSOCK, kind, (socket.VMADDR_CID_ANY, at))
        t = threading.Thread(target=serve, args=(listener, kind == socket.SOCK_SEQPACKET))
        t.start()
    print("ready", flush=True)
    t.join()


def guest_call(port, words):
    s = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    s.connect((2, port))
    s.sendall(" ".join(words).encode() + b"\n")
    if words[0] == "sink":
        for data in blocks(int(words[1])):
            s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        sys.stdout.write(read_line(s).decode())
    elif words[0] == "source":
        print(checksum(s))


def guest_each(port, command):
    listener = listen(socket.AF_VSOCK, socket.SOCK_STREAM, (socket.VMADDR_CID_ANY, port))
    print("ready", flush=True)
    while True:
        s, _ = listener.accept()
        subprocess.Popen(command, stdin=s, stdout=s)
        s.close()


def join(path, port, kind=socket.SOCK_STREAM):
    s = socket.socket(socket.AF_UNIX, kind)
    s.connect(path + (".seqpacket" if kind == socket.SOCK_SEQPACKET else ""))
    s.sendall(b"CONNECT %d\n" % port)
    ok = s.recv(100) if kind == socket.SOCK_SEQPACKET else read_line(s)
    if not ok.startswith(b"OK "):
        sys.exit("refused")
    return s


def echo_word(s, word):
    s.sendall(word)
    back = b""
    while len(back) < len(word):
        back += s.recv(100) or sys.exit("lost")
    if back != word:
        sys.exit("%r, not %r" % (back, word))


def opened(path, port, n):
    for i in range(n):
        s = join(path, port)
        s.sendall(b"echo\n")
        echo_word(s, b"word %d" % i)
        s.close()
    print(n)


def atonce(path, port, n):
    all_of_them = [join(path, port) for _ in range(n)]
    for s in all_of_them:
        s.sendall(b"echo\n")
    for i, s in enumerate(all_of_them):
        echo_word(s, b"word %d" % i)
    for s in all_of_them:
        s.shutdown(socket.SHUT_WR)
    for s in all_of_them:
        if s.recv(1):
            sys.exit("more")
    print(n)


def messages(path, port):
    s = join(path, port + 1, socket.SOCK_SEQPACKET)
    s.sendall(b"echo")
    for n in (1, 2, 4095, 4096, 4097, 65536, 65537, 150000):
        data = (BLOCK * 3)[n % 7:n % 7 + n]
        s.sendall(data)
        if s.recv(1 << 18) != data:
            sys.exit("a message of %d bytes" % n)
    for n in range(1, 50):
        s.sendall(b"x" * n)
    for n in range(1, 50):
        if len(s.recv(1000)) != n:
            sys.exit("messages that are joined")
    print("good")


def cut(path, port):
    s = join(path, port)
    s.sendall(b"source 100000000\n")
    s.recv(100000)
    s = join(path, port)
    s.sendall(b"sink\n" + BLOCK * 16)
    os._exit(0)


def main():
    what, at = sys.argv[1:3]
    if what == "serve":
        guest_serve(int(at))
    elif what == "call":
        guest_call(int(at), sys.argv[3:])
    elif what == "each":
        guest_each(int(at), sys.argv[3:])
    elif what == "host":
        kind = socket.SOCK_SEQPACKET if "seqpacket" in sys.argv else socket.SOCK_STREAM
        serve(listen(socket.AF_UNIX, kind, at), kind == socket.SOCK_SEQPACKET)
    elif what in ("messages", "cut"):
        {"messages": messages, "cut": cut}[what](at, int(sys.argv[3]))
    else:
        {"opened": opened, "atonce": atonce}[what](at, int(sys.argv[3]), int(sys.argv[4]))


main()
