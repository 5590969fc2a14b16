#!/usr/bin/python3
"""Flows for tests of RSS, and where they are to go.

rss.py udp|tcp ADDRESS PORT FLOWS KEY FIELDS QUEUES

From FLOWS ports of its own three datagrams each, or an attempt to connect, to PORT. Prints how many datagrams each of
QUEUES queues is to get if all entries of the table are equal: by the function of Toeplitz with KEY (aa:bb:...) over
addresses and ports (FIELDS sdfn) or addresses alone (sd).
"""
import socket
import sys

FIRST_PORT = 20000


def toeplitz(key, data):
    """Bit by bit, as its definition has it."""
    bits = int.from_bytes(key, "big")
    length = len(key) * 8
    result = 0
    for i in range(len(data) * 8):
        if data[i // 8] >> (7 - i % 8) & 1:
            result ^= bits >> (length - 32 - i) & 0xFFFFFFFF
    return result


def main():
    kind, address, port, flows, key, fields, queues = sys.argv[1:]
    port, flows, queues = int(port), int(flows), int(queues)
    key = bytes.fromhex(key.replace(":", ""))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    expected = [0] * queues
    probe = socket.socket(family, socket.SOCK_DGRAM)
    probe.connect((address, port))
    own = probe.getsockname()[0]
    addresses = socket.inet_pton(family, own) + socket.inet_pton(family, address)
    for flow in range(flows):
        s = socket.socket(family, socket.SOCK_DGRAM if kind == "udp" else socket.SOCK_STREAM)
        s.settimeout(5)
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        s.bind((own, FIRST_PORT + flow))
        if kind == "tcp":
            try:
                s.connect((address, port))
            except OSError:
                pass  # nobody listens there, which does not matter
        else:  # not connected: it would not send what comes after an answer that nobody listens
            for _ in range(3):
                s.sendto(b"flow", (address, port))
        s.close()
        ports = (FIRST_PORT + flow).to_bytes(2, "big") + port.to_bytes(2, "big")
        expected[toeplitz(key, addresses + ports if fields == "sdfn" else addresses) % 128 % queues] += 3
    print(*expected)


main()
