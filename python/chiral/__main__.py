# SPDX-License-Identifier: Apache-2.0
"""python -m chiral serve | probe | robots | info: a simulated robot, a look at a server, who is there, and what is installed.

Options are those of chiral-serve and chiral-probe where they overlap.
"""

from __future__ import annotations

import argparse
import math
import os
import pathlib
import platform
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

import chiral
from chiral._command_camera import Command, RobotWithCommands
from chiral._probe import probe
from chiral._terminal import table


def token_of(arguments: argparse.Namespace) -> dict[str, str]:
    if arguments.token_file is not None:
        if arguments.token is not None:
            raise ValueError("--token and --token-file: expected one of the two")
        lines = pathlib.Path(arguments.token_file).read_text(encoding="utf-8").splitlines()
        if not lines or not lines[0].strip():
            raise ValueError(f"{arguments.token_file} has no token in its first line")
        return {"bearer_token": lines[0].strip()}
    token = arguments.token if arguments.token is not None else os.environ.get("CHIRAL_TOKEN", "")
    return {"bearer_token": token} if token else {}


def size(text: str) -> tuple[int, int]:
    width, separator, height = text.partition("x")
    if not separator or not width.isdigit() or not height.isdigit():
        raise argparse.ArgumentTypeError(f"'{text}' came, expected WIDTHxHEIGHT such as 640x480")
    return int(height), int(width)


WORDS: dict[str, dict[str, Any]] = {
    **{word: {"fit": word} for word in ("stretch", "crop", "pad")},
    **{word: {"image": word} for word in ("none", "raw", "jpeg", "png", "zstd")},
    **{word: {"order": word} for word in ("rgb", "bgr")},
    **{f"depth:{word}": {"depth": word} for word in ("none", "raw", "lossless", "millimetres", "millimetres_png")},
    "newer": {"only_if_newer": True},
}


def want(text: str) -> tuple[str, chiral.Want]:
    """WIDTHxHEIGHT, jpeg:QUALITY and the words above, with commas between; beside what they mean."""
    asked: dict[str, Any] = {}
    for word in text.split(","):
        quality = word.removeprefix("jpeg:")
        if word in WORDS:
            asked |= WORDS[word]
        elif quality != word and quality.isdigit():
            asked |= {"image": "jpeg", "quality": int(quality)}
        elif word[:1].isdigit():
            asked["size"] = size(word)
        else:
            raise argparse.ArgumentTypeError(f"'{word}' is not known; expected WIDTHxHEIGHT, jpeg:QUALITY, {', '.join(WORDS)}")
    return text, chiral.Want(**asked)


def command(text: str) -> Command:
    try:
        return Command.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


# Flag, option of the server, milliseconds, what it means.
LIMITS = (
    ("--action-timeout-ms", "action_timeout", 250, "on_action_timeout() is called when no action has come for so long; 0: never"),
    ("--action-delay-ms", "max_action_delay", 500, "an action that has waited for longer when its turn comes is dropped; 0: none"),
    ("--heartbeat-ms", "heartbeat_timeout", 1000, "a client whose machine is out of reach for so long is dropped: it is dead"),
    ("--deaf-ms", "deaf_timeout", 120000, "a client that takes nothing of an answer for so long is dropped: it is deaf"),
    ("--idle-ms", "idle_timeout", 0, "a client that answers no ping for so long is closed; 0: never, policies infer"),
)


def arm_gate(joints: int, policy: str) -> dict[str, Any]:
    limit = float(np.float32(math.pi))  # as a client can say it
    return {"dimension": joints, "lower": [-limit] * joints, "upper": [limit] * joints, "max_step": [0.5] * joints,
            "outside_limits": policy, "too_large_step": policy}


def zenoh_of(arguments: argparse.Namespace) -> dict[str, Any]:
    return {"listen": arguments.host, "port": arguments.zenoh_port, "prefix": arguments.zenoh_prefix,
            "connect": arguments.zenoh_connect, "stream_hz": arguments.zenoh_stream_hz,
            "publish_metrics": arguments.zenoh_metrics, "config_file": arguments.zenoh_config}


def serve(arguments: argparse.Namespace) -> int:
    options: dict[str, Any] = token_of(arguments)
    options |= {option: getattr(arguments, option) / 1e3 for _, option, _, _ in LIMITS}
    if arguments.gate != "off":
        options["gate"] = arm_gate(arguments.joints, arguments.gate)
    if arguments.zenoh:
        options["zenoh"] = zenoh_of(arguments)
    if arguments.tls_cert or arguments.tls_key:
        options |= {"tls_certificate_file": arguments.tls_cert or "", "tls_private_key_file": arguments.tls_key or ""}
    robot = RobotWithCommands(
        arguments.camera,
        cameras=2 if arguments.cameras is None and not arguments.camera else arguments.cameras or 0,
        size=arguments.size,
        depth=arguments.depth,
        joints=arguments.joints,
        proprios=arguments.proprios,
        touch=arguments.touch,
        camera_hz=arguments.camera_hz,
        proprio_hz=arguments.proprio_hz,
        host=arguments.host,
        port=arguments.port,
        max_observers=arguments.observers,
        local_socket=arguments.local_socket,
        local_direct_readers=arguments.direct_readers,
        allow_takeover=arguments.takeover,
        control_rate_hz=arguments.control_hz,
        wants={"threads": arguments.want_threads, "max_bytes": arguments.want_mb * 1_000_000},
        allowed_origins=arguments.origin,
        **options,
    )
    with robot:
        print(f"listening on {'wss' if arguments.tls_cert else 'ws'}://{robot.host}:{robot.port}", flush=True)
        if arguments.local_socket:
            print(f"and on unix://{arguments.local_socket}", flush=True)
        deadline = time.monotonic() + arguments.seconds if arguments.seconds > 0 else float("inf")
        try:
            while (left := deadline - time.monotonic()) > 0:
                time.sleep(min(left, 1.0))
        except KeyboardInterrupt:
            pass
        finally:
            robot.end()
    counted = robot.stats()
    table("served", ("what", "count"), [(name, counted[name]) for name in ("connections", "observations", "actions_applied")])
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
    top = argparse.ArgumentParser(
        prog="python -m chiral",
        description="A simulated robot, a look at a server, what is installed.",
        epilog="Exit code: 0 good, 1 failed, 2 wrong usage, 130 interrupted",
    )
    top.add_argument("--version", action="version", version=f"chiral {chiral.__version__}", help="print the version and end")
    commands = top.add_subparsers(required=True, metavar="serve | probe | robots | info")

    serving = commands.add_parser("serve", help="serve a simulated robot")
    serving.set_defaults(run=serve)
    serving.add_argument("--cameras", type=int, metavar="N", help="simulated cameras, cam_0 and so on [2; 0 with --camera]")
    serving.add_argument("--size", type=size, default=(480, 640), metavar="WxH", help="picture size [640x480]")
    serving.add_argument("--depth", action="store_true", help="cameras measure depth, too")
    serving.add_argument("--camera-hz", type=float, default=30.0, metavar="HZ", help="frames per second [30]")
    serving.add_argument("--camera", type=command, action="append", default=[], metavar="NAME,WxH,cmd:COMMAND",
                         help="add a camera: COMMAND writes its pictures to standard output, as raw RGB24 frames of that size, or with "
                              "mjpeg: as JPEG pictures; started again when it ends; may be given several times")
    serving.add_argument("--proprios", type=int, default=3, metavar="M",
                         help="streams: joint_pos, joint_vel, joint_effort, proprio_3, ... [3]")
    serving.add_argument("--proprio-hz", type=float, default=500.0, metavar="HZ", help="samples per second [500]")
    serving.add_argument("--touch", action="store_true", help="the gripper has pads that feel: slot touch, 2 x 4 x 4 pressures in kPa")
    serving.add_argument("--joints", type=int, default=7, metavar="N", help="joints of the arm [7]")
    for flag, option, milliseconds, meaning in LIMITS:
        serving.add_argument(flag, dest=option, type=float, default=milliseconds, metavar="MS", help=f"{meaning} [{milliseconds}]")
    serving.add_argument("--control-hz", type=float, default=20.0, metavar="HZ",
                         help="rows of an action that the arm plays in a second: N of them cover their time [20]")
    serving.add_argument("--gate", choices=("off", "reject", "clamp"), default="off", metavar="MODE",
                         help="what becomes of actions that are not for this arm's joints, go beyond 3.14 rad, or more than 0.5 rad "
                              "in a step: off, reject or clamp [off]")
    serving.add_argument("--want-threads", type=int, default=2, metavar="N", help="threads that scale and encode [2]")
    serving.add_argument("--want-mb", type=int, default=134, metavar="MB",
                         help="megabytes that a want may take before they are encoded [134]")
    serving.add_argument("--zenoh", action="store_true", help="serve Zenoh, too: as the documented programs do, at the same address")
    serving.add_argument("--zenoh-port", type=int, default=7447, metavar="PORT", help="port for it; 0: any free one [7447]")
    serving.add_argument("--zenoh-prefix", default="chiral", metavar="KEY", help="of all keys of this robot [chiral]")
    serving.add_argument("--zenoh-connect", action="append", default=[], metavar="ENDPOINT",
                         help="connect to a router as well: tcp/HOST:7447; may be given several times")
    serving.add_argument("--zenoh-stream-hz", type=float, default=0.0, metavar="HZ",
                         help="publish so many observations a second for whoever subscribes [0]")
    serving.add_argument("--zenoh-metrics", action="store_true", help="publish the figures of /metrics as keys, once a second")
    serving.add_argument("--zenoh-config", default="", metavar="FILE",
                         help="Zenoh's own configuration (JSON5), which counts where it says something")
    serving.add_argument("--host", default="127.0.0.1", metavar="ADDRESS", help="address to listen on; 0.0.0.0: all [127.0.0.1]")
    serving.add_argument("--port", type=int, default=8765, help="port to listen on; 0: any free one [8765]")
    serving.add_argument("--local-socket", default="", metavar="PATH",
                         help="socket for clients on this machine, which copy no image: unix://PATH")
    serving.add_argument("--direct-readers", type=int, default=0, metavar="N",
                         help="clients of --local-socket that may look at the newest images without asking [0]")
    serving.add_argument("--observers", type=int, default=2, metavar="N", help="clients that may look on at /observe [2]")
    serving.add_argument("--takeover", action="store_true", help="a client that asks for ?takeover=1 replaces the one in control")
    serving.add_argument("--token", metavar="TOKEN", help="clients must know this token; --token-file keeps it secret from other "
                                                          "users of this machine, and so does CHIRAL_TOKEN in the environment")
    serving.add_argument("--token-file", metavar="FILE", help="clients must know the first line of this file")
    serving.add_argument("--origin", action="append", default=[], metavar="ORIGIN",
                         help="web pages from here may connect, too (https://lab.example); may be given several times")
    serving.add_argument("--tls-cert", metavar="FILE", help="speak TLS, with this certificate (PEM)")
    serving.add_argument("--tls-key", metavar="FILE", help="the private key of the certificate (PEM)")
    serving.add_argument("--seconds", type=float, default=0.0, metavar="S", help="end after this time; 0: at Ctrl-C [0]")

    probing = commands.add_parser("probe", help="ask a server for observations and tell what came")
    probing.set_defaults(run=lambda arguments: probe(arguments, token_of(arguments)))
    probing.add_argument("uri", metavar="URI", help="ws://HOST[:PORT][/observe], wss:// for TLS, unix:///PATH on the same machine, or zenoh://HOST")
    probing.add_argument("--count", type=int, metavar="N", help="observations to ask for; 0: no limit [100; 0 with --seconds]")
    probing.add_argument("--seconds", type=float, default=0.0, metavar="S", help="time to ask for; 0: no limit [0]")
    probing.add_argument("--hz", type=float, default=0.0, metavar="R", help="requests per second; 0: as fast as they are answered [0]")
    probing.add_argument("--legacy", action="store_true", help="speak the legacy dialect: reset, then steps with zero actions")
    probing.add_argument("--act", action="store_true", help="send zero actions alongside, at the server's control_hz")
    probing.add_argument("--json", metavar="FILE", help="write all numbers to this file: docs/JSON.md")
    probing.add_argument("--save", metavar="DIR", help="write the last observation into this folder: images as PNG, depth as 16-bit PNG "
                                                       "in millimetres, the rest as JSON")
    probing.add_argument("--want", type=want, metavar="WORDS",
                         help="what to ask for instead of everything: WIDTHxHEIGHT, stretch, crop or pad, jpeg[:QUALITY], png, zstd or "
                              "none, depth:millimetres, ..., with commas between")
    probing.add_argument("--timeout", type=float, default=5.0, metavar="S", help="seconds to wait for the server to come up [5]")
    probing.add_argument("--token", metavar="TOKEN", help="token that the server asks for, or CHIRAL_TOKEN in the environment")
    probing.add_argument("--token-file", metavar="FILE", help="file whose first line is the token")
    probing.add_argument("--ca", metavar="FILE", help="certificates that are trusted (PEM)")
    probing.add_argument("--insecure", action="store_true", help="talk to a server whoever it is")
    probing.add_argument("--zenoh-config", metavar="FILE", help="Zenoh's own configuration (JSON5), which counts where it says something")

    fleet = commands.add_parser("robots", help="list the robots that a Zenoh router or robot knows of")
    fleet.set_defaults(run=robots)
    fleet.add_argument("uri", nargs="?", default="tcp/localhost:7447", metavar="URI", help="tcp/HOST:PORT [tcp/localhost:7447]")
    fleet.add_argument("--timeout", type=float, default=2.0, metavar="S", help="seconds to wait for answers [2]")

    commands.add_parser("info", help="tell what is installed").set_defaults(run=info)
    return top


def mistake(options: argparse.Namespace) -> str | None:
    """What does not fit together."""
    given = vars(options)
    if (given.get("count") or 0) < 0:
        return f"--count is {options.count}, expected 0 or more"
    if given.get("legacy"):
        if options.want is not None:
            return "--want: not for --legacy"
        if options.act:
            return "--act: --legacy sends actions already"
    if given.get("insecure") and options.ca:
        return "--insecure: does not look at what --ca trusts"
    if options.run is serve:
        if bool(options.tls_cert) != bool(options.tls_key):
            return "--tls-cert and --tls-key: expected both, or neither for no TLS"
        defaults = vars(parser().parse_args(["serve"]))
        for name, value in given.items():
            if name.startswith("zenoh_") and value != defaults[name] and not options.zenoh:
                return f"--{name.replace('_', '-')} needs --zenoh"
    return None


def main(arguments: Sequence[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    wrong = mistake(options)
    if wrong is not None:
        parser().error(wrong)
    try:
        code: int = options.run(options)
        return code
    except (OSError, ValueError, TypeError, chiral.LoanError) as error:
        print(f"python -m chiral: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
