# SPDX-License-Identifier: Apache-2.0
"""python -m chiral serve | probe | robots | info: a simulated robot, a look at a server, who is there, and what is installed.

Options are those of chiral-serve and chiral-probe where they overlap.
"""

from __future__ import annotations

import argparse
import pathlib
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

import chiral
from chiral.testing import SimulatedRobot


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table: of rich where it is installed and a terminal is there, in plain columns elsewhere."""
    cells = [[str(cell) for cell in row] for row in rows]
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
        except ImportError:
            pass
        else:
            pretty = Table(*columns, title=title, title_justify="left")
            for row in cells:
                pretty.add_row(*row)
            Console().print(pretty)
            return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    print(title)
    for line in [list(columns), *cells]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def token_of(arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.token_file is None:
        return {}
    return {"bearer_token": pathlib.Path(arguments.token_file).read_text(encoding="utf-8").splitlines()[0].strip()}


def size(text: str) -> tuple[int, int]:
    width, separator, height = text.partition("x")
    if not separator or not width.isdigit() or not height.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' came, expected WIDTHxHEIGHT such as 640x480")
    return int(height), int(width)


def serve(arguments: argparse.Namespace) -> int:
    options: dict[str, Any] = token_of(arguments)
    if arguments.tls_cert or arguments.tls_key:
        options |= {"tls_certificate_file": arguments.tls_cert or "", "tls_private_key_file": arguments.tls_key or ""}
    robot = SimulatedRobot(
        cameras=arguments.cameras,
        size=arguments.size,
        depth=arguments.depth,
        joints=arguments.joints,
        camera_hz=arguments.camera_hz,
        proprio_hz=arguments.proprio_hz,
        host=arguments.host,
        port=arguments.port,
        max_observers=arguments.observers,
        local_socket=arguments.local_socket,
        allow_takeover=arguments.takeover,
        **options,
    )
    with robot:
        print(f"serving on {robot.host} port {robot.port}, until Ctrl-C", flush=True)
        deadline = time.monotonic() + arguments.seconds if arguments.seconds > 0 else float("inf")
        try:
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, 1.0))
        except KeyboardInterrupt:
            pass
    counted = robot.stats()
    table("served", ("what", "count"), [(name, counted[name]) for name in ("connections", "observations", "actions_applied")])
    return 0


def probe(arguments: argparse.Namespace) -> int:
    options: dict[str, Any] = token_of(arguments)
    if arguments.ca:
        options["tls_ca_file"] = arguments.ca
    if arguments.insecure:
        options["tls_verify"] = False
    round_trips, first, last = [], None, None
    with chiral.PolicyClient(arguments.uri, connect_timeout=arguments.timeout, **options) as env:
        metadata = env.get_metadata()
        period = 1.0 / arguments.hz if arguments.hz > 0 else 0.0
        due = began = time.monotonic()
        for _ in range(arguments.count):
            time.sleep(max(0.0, due - time.monotonic()))
            due += period
            last = env.get_obs()
            round_trips.append(env.stats()["last_round_trip"])
            first = first or last
        took = time.monotonic() - began
        received = env.stats()["bytes_received"]
    assert first is not None and last is not None
    if metadata:
        table("metadata", ("key", "value"), metadata.items())
    between = max(last.snapshot_time - first.snapshot_time, 1e-9)
    table(
        "cameras",
        ("name", "image", "depth", "Hz", "age ms", "status"),
        [
            (
                now.name,
                f"{now.image.shape} {now.image.dtype}",
                "-" if now.depth is None else f"{now.depth.shape} {now.depth.dtype}",
                f"{(now.sequence - then.sequence) / between:.1f}",
                f"{(last.snapshot_time - now.timestamp) * 1e3:.1f}" if now.sequence else "-",
                now.status,
            )
            for then, now in zip(first.cameras, last.cameras)
        ],
    )
    table("streams", ("name", "size", "status"), [(n, v.size, last.proprio_stamps[n].status) for n, v in last.proprios.items()])
    p50, p99 = np.percentile(round_trips, [50, 99]) * 1e3
    table(
        f"{len(round_trips)} observations in {took:.2f} s",
        ("round trip p50", "p99", "MB/s"),
        [(f"{p50:.2f} ms", f"{p99:.2f} ms", f"{received / took / 1e6:.1f}")],
    )
    return 0


def robots(arguments: argparse.Namespace) -> int:
    found = chiral.find_robots(arguments.uri, arguments.timeout)
    table(f"{len(found)} robots at {arguments.uri}", ("prefix", "id"), [(robot.prefix, robot.id) for robot in found])
    return 0


def info(_: argparse.Namespace) -> int:
    modules = [("chiral", chiral.__version__), ("python", platform.python_version()), ("numpy", np.__version__)]
    table("chiral", ("what", "version"), [*modules, ("machine", platform.machine()), ("native", chiral._native.__file__)])
    return 0


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="python -m chiral", description="A simulated robot, a look at a server, what is installed.")
    commands = top.add_subparsers(required=True, metavar="serve | probe | robots | info")

    serving = commands.add_parser("serve", help="serve a simulated robot")
    serving.set_defaults(run=serve)
    serving.add_argument("--cameras", type=int, default=2, metavar="N", help="simulated cameras, cam_0 and so on [2]")
    serving.add_argument("--size", type=size, default=(480, 640), metavar="WxH", help="picture size [640x480]")
    serving.add_argument("--depth", action="store_true", help="cameras measure depth, too")
    serving.add_argument("--camera-hz", type=float, default=30.0, metavar="HZ", help="frames per second [30]")
    serving.add_argument("--proprio-hz", type=float, default=500.0, metavar="HZ", help="samples per second [500]")
    serving.add_argument("--joints", type=int, default=7, metavar="N", help="joints of the arm [7]")
    serving.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0: all [127.0.0.1]")
    serving.add_argument("--port", type=int, default=8765, help="port to listen on; 0: any free one [8765]")
    serving.add_argument("--local-socket", default="", metavar="PATH",
                         help="socket for clients on this machine, which copy no image: unix://PATH")
    serving.add_argument("--observers", type=int, default=2, metavar="N", help="clients that may look on at /observe [2]")
    serving.add_argument("--takeover", action="store_true", help="a client that asks for ?takeover=1 replaces the one in control")
    serving.add_argument("--token-file", metavar="FILE", help="clients must know the first line of this file")
    serving.add_argument("--tls-cert", metavar="FILE", help="speak TLS, with this certificate (PEM)")
    serving.add_argument("--tls-key", metavar="FILE", help="the private key of the certificate (PEM)")
    serving.add_argument("--seconds", type=float, default=0.0, metavar="S", help="end after this time; 0: at Ctrl-C [0]")

    probing = commands.add_parser("probe", help="ask a server for observations and tell what came")
    probing.set_defaults(run=probe)
    probing.add_argument("uri", metavar="URI", help="ws://HOST[:PORT][/observe], wss:// for TLS, or zenoh://HOST")
    probing.add_argument("--count", type=int, default=100, metavar="N", help="observations to ask for [100]")
    probing.add_argument("--hz", type=float, default=0.0, help="requests per second; 0: as fast as they are answered [0]")
    probing.add_argument("--timeout", type=float, default=5.0, metavar="S", help="seconds to wait for the server to come up [5]")
    probing.add_argument("--token-file", metavar="FILE", help="file whose first line is the token")
    probing.add_argument("--ca", metavar="FILE", help="certificates that are trusted (PEM)")
    probing.add_argument("--insecure", action="store_true", help="talk to a server whoever it is")

    fleet = commands.add_parser("robots", help="list the robots that a Zenoh router or robot knows of")
    fleet.set_defaults(run=robots)
    fleet.add_argument("uri", nargs="?", default="tcp/localhost:7447", metavar="URI", help="tcp/HOST:PORT [tcp/localhost:7447]")
    fleet.add_argument("--timeout", type=float, default=2.0, metavar="S", help="seconds to wait for answers [2]")

    commands.add_parser("info", help="tell what is installed").set_defaults(run=info)
    return top


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    if getattr(options, "count", 1) < 1:
        parser().error(f"--count is {options.count}, expected at least 1")
    try:
        code: int = options.run(options)
        return code
    except (OSError, ValueError, TypeError) as error:
        print(f"python -m chiral: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
