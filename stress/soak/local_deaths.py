# SPDX-License-Identifier: Apache-2.0
"""Kills local clients while they hold all that they may, and sends nonsense between: nothing of them stays. See tools/soak.

    local_deaths.py --program chiral-serve [--local-kills 10000] [--seed N]

Every client is a process of its own, which is ended by SIGKILL. In the end another one is served, and the server's descriptors,
threads and memory are what they were after the first tenth."""
import argparse
import os
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

from messages import message

ASK = message({"type": "obs_request"})
HELLO = "version=1\nwants={}\n"
DEADLINE = 60.0  # only a server that does not do what it must needs it
MEMORY_MARGIN = 4 << 20  # allocators keep some


class Wrong(Exception):
    """The server did what it must not, or did not do what it must."""


def connected(path):
    client = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client.settimeout(DEADLINE)
    client.connect(path)
    return client


def let_in(path, wants):
    """A client that comes again while the one before it is still being missed."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        client = connected(path)
        client.send(b"H" + HELLO.format(wants).encode())
        packet, descriptors, _, _ = socket.recv_fds(client, 65536, 4)
        for descriptor in descriptors:
            os.close(descriptor)
        if packet[:1] == b"W":
            return client
        client.close()
        time.sleep(0.001)
    raise Wrong("a client that came for a minute was not let in")


def observe(client):
    client.send(b"M" + ASK)
    packet = client.recv(65536)
    if packet[:1] != b"M":
        raise Wrong(f"expected an observation, got {packet[:80]!r}")
    return struct.unpack_from("<I", packet, 1)[0]  # the loan


def die_holding(path, wants, rng):
    """One client that holds two observations, or is about to, and is killed."""
    holds, says = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            client = let_in(path, wants)
            for _ in range(rng.randrange(3)):
                observe(client)
            if rng.randrange(2):
                client.send(b"M" + ASK if rng.randrange(2) else b"p" + b"half a message")
            os.write(says, b"x")
            signal.pause()
        finally:
            os._exit(1)
    os.close(says)
    held = os.read(holds, 1)
    os.close(holds)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if held != b"x":
        raise Wrong("a client was not served")


def talk_nonsense(path, rng):
    with connected(path) as client:
        if rng.randrange(2):
            client.send(b"H" + HELLO.format("observe").encode())
        try:
            for _ in range(4):
                client.send(bytes(rng.choice(b"HWNpMRCx") for _ in range(1)) + rng.randbytes(rng.randrange(2000)))
        except OSError:
            pass  # closed already


def figures(process):
    status = open(f"/proc/{process.pid}/status").read().split()
    return (int(status[status.index("VmRSS:") + 1]) * 1024, int(status[status.index("Threads:") + 1]),
            len(os.listdir(f"/proc/{process.pid}/fd")))


def settled(process, threads, descriptors):
    """The last client's end may still be under way, and may have been when the first figures were taken."""
    end = time.monotonic() + DEADLINE
    while time.monotonic() < end:
        memory, now_threads, now_descriptors = figures(process)
        if now_threads <= threads and now_descriptors <= descriptors:
            return memory
        time.sleep(0.01)
    raise Wrong(f"{now_threads} threads and {now_descriptors} descriptors, after the first tenth it had {threads} and {descriptors}")


def run(options, folder):
    path, rng = os.path.join(folder, "robot.sock"), random.Random(options.seed)
    command = [options.program, "--local-socket", path, "--port", "0", "--cameras", "2", "--size", "320x240", "--depth", "--proprios", "2"]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + DEADLINE
        while not os.path.exists(path):
            if time.monotonic() > end or server.poll() is not None:
                raise Wrong("the robot did not start")
            time.sleep(0.01)
        before = None
        for i in range(options.kills):
            die_holding(path, "observe" if i % 3 == 0 else "control", rng)
            if i % 10 == 0:
                talk_nonsense(path, rng)
            if i == options.kills // 10:
                time.sleep(0.2)
                before = figures(server)
        memory = settled(server, before[1], before[2])
        with let_in(path, "control") as last:
            if [observe(last), observe(last)] != [1, 2]:
                raise Wrong("the last client was not lent what it may hold")
        if memory > before[0] + MEMORY_MARGIN:
            raise Wrong(f"{memory >> 10} KiB resident, after the first tenth it was {before[0] >> 10} KiB")
        if server.poll() is not None:
            raise Wrong("the robot has ended")
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(DEADLINE)
    if os.listdir(folder):
        raise Wrong(f"left behind: {os.listdir(folder)}")
    return f"{options.kills} local clients killed while they held observations: nothing of them stays"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--local-kills", dest="kills", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="chiral-local-") as folder:
        try:
            print(run(options, folder))
        except (Wrong, OSError) as problem:
            print(f"local clients, seed {options.seed}: {problem}")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
