"""A bad line between two network namespaces, over TUN: the kernel that this runs on has no netem. A process of its own carries packets from one device to the other, late, slowly, not all of
them, twice or out of order, as its profile says; a line on its standard input ("cut", "heal", "loss 0.2", "rate 64000") changes it while it runs.

    python3 impair.py NETNS_A ADDRESS_A NETNS_B ADDRESS_B [--profile NAME] [--rate BITS] [--delay MS] [--jitter MS] [--loss P] [--duplicate P] [--reorder P] [--corrupt P] [--buffer BYTES]
"""
import argparse
import ctypes
import fcntl
import heapq
import os
import random
import select
import struct
import subprocess
import sys
import time

TUNSETIFF, IFF_TUN, IFF_NO_PI = 0x400454CA, 1, 0x1000
CLONE_NEWNET = 0x40000000

# What people met in the field: satellite and 3G as Azure's edge tests have them, "poor" as EVE's, "dsl" a slow line with a modem's large buffer.
PROFILES = {
    "clean": {},
    "satellite": dict(delay=600, jitter=50, loss=0.02),
    "3g": dict(delay=100, jitter=10),
    "poor": dict(delay=250, jitter=50, loss=0.2, corrupt=0.05, duplicate=0.1, reorder=0.3, rate=4_096_000),
    "dsl": dict(rate=512_000, delay=20, buffer=1_000_000),
}
NUMBERS = dict(rate=0, delay=0.0, jitter=0.0, loss=0.0, duplicate=0.0, reorder=0.0, corrupt=0.0, buffer=256_000)


def tun(netns, address, peer):
    """A device of that namespace, with an address and a route to the other end."""
    libc = ctypes.CDLL(None, use_errno=True)
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    there = os.open(f"/run/netns/{netns}", os.O_RDONLY)
    if libc.setns(there, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")
    name = "bad" + address.rsplit(".", 1)[1]
    fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI))
    for words in (["addr", "add", address, "peer", peer, "dev", name], ["link", "set", name, "mtu", "1400", "up"]):
        subprocess.run(["ip", *words], check=True)
    libc.setns(own, CLONE_NEWNET)
    os.close(own)
    os.close(there)
    return fd


class Way:
    """One direction: packets wait in a buffer for the line, then on it for their delay."""

    def __init__(self, line, to):
        self.line, self.to = line, to
        self.free = 0.0       # when the line has sent what waits
        self.on_way = []      # heap of (arrival, number, packet)
        self.last = 0.0
        self.count = 0

    def take(self, packet, now):
        p = self.line
        if p["cut"] or random.random() < p["loss"]:
            return
        seconds = len(packet) * 8 / p["rate"] if p["rate"] else 0.0
        begin = max(now, self.free)
        if p["rate"] and (begin - now) * p["rate"] / 8 > p["buffer"]:
            return  # the buffer before the line is full
        self.free = begin + seconds
        for _ in range(2 if random.random() < p["duplicate"] else 1):
            at = self.free + max(0.0, random.gauss(p["delay"], p["jitter"]) if p["jitter"] else p["delay"]) / 1000
            if random.random() >= p["reorder"]:
                at = max(at, self.last)
                self.last = at
            if random.random() < p["corrupt"]:
                i = random.randrange(20, len(packet)) if len(packet) > 20 else 0
                packet = packet[:i] + bytes([packet[i] ^ 0x55]) + packet[i + 1:]
            self.count += 1
            heapq.heappush(self.on_way, (at, self.count, packet))

    def deliver(self, now):
        while self.on_way and self.on_way[0][0] <= now:
            packet = heapq.heappop(self.on_way)[2]
            if not self.line["cut"]:
                try:
                    os.write(self.to, packet)
                except OSError:
                    pass

    def next(self):
        return self.on_way[0][0] if self.on_way else None


def order(line, words):
    if words[0] in ("cut", "heal"):
        line["cut"] = words[0] == "cut"
    elif words[0] == "profile":
        line.update(NUMBERS, **PROFILES[words[1]])
    else:
        line[words[0]] = type(NUMBERS[words[0]])(float(words[1]))


def main():
    args = argparse.ArgumentParser()
    for word in ("netns_a", "address_a", "netns_b", "address_b"):
        args.add_argument(word)
    args.add_argument("--profile", choices=PROFILES, default="clean")
    for name, value in NUMBERS.items():
        args.add_argument("--" + name, type=type(value))
    a = args.parse_args()
    line = dict(NUMBERS, **PROFILES[a.profile], cut=False)
    line.update({k: getattr(a, k) for k in NUMBERS if getattr(a, k) is not None})
    left, right = tun(a.netns_a, a.address_a, a.address_b), tun(a.netns_b, a.address_b, a.address_a)
    ways = {left: Way(line, right), right: Way(line, left)}
    print("ready", flush=True)
    pending = b""
    while True:
        now = time.monotonic()
        times = [w.next() for w in ways.values() if w.next() is not None]
        readable = select.select([left, right, 0], [], [], max(0.0, min(times) - now) if times else None)[0]
        now = time.monotonic()
        for fd in readable:
            if fd == 0:
                data = os.read(0, 4096)
                if not data:
                    return
                *lines, pending = (pending + data).split(b"\n")
                for text in lines:
                    order(line, text.decode().split())
                continue
            for _ in range(64):
                try:
                    ways[fd].take(os.read(fd, 65536), now)
                except BlockingIOError:
                    break
        for w in ways.values():
            w.deliver(now)


class Line:
    """The same from a test: a line between two hosts of a lab."""

    def __init__(self, one, address, other, peer, profile="clean"):
        self.proc = subprocess.Popen([sys.executable, os.path.abspath(__file__), one.netns, address, other.netns, peer, "--profile", profile], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self.proc.stdout.readline() == b"ready\n"

    def tell(self, *words):
        self.proc.stdin.write((" ".join(map(str, words)) + "\n").encode())
        self.proc.stdin.flush()

    def close(self):
        self.proc.stdin.close()
        self.proc.wait(10)


if __name__ == "__main__":
    main()
