# SPDX-License-Identifier: Apache-2.0
"""python -m chiral probe: asks a server for observations and tells what came, as chiral-probe does."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import pathlib
import re
import statistics
import sys
import threading
import time
from typing import Any

import numpy as np

from . import ConnectionError, LoanError, PolicyClient, _native, _wire
from ._terminal import printable, progress, table
from .client import _action
from .types import Array
from .want import request_for


def zero_action(metadata: dict[Any, Any], received: _native.ReceivedObservation) -> Array:
    """Zeros in the shape that the server's metadata asks for; without it, one value for each of its first stream."""

    def number(otherwise: int, *keys: str) -> int:
        for key in keys:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                if 1 <= (value := int(float(metadata[key]))) <= 4096:
                    return value
        return otherwise

    first = next(iter(_wire.observation(received.values()).proprios.values()), np.zeros(7))
    return np.zeros((number(1, "action_N"), number(max(1, first.size), "action_D", "action_dim")), np.float32)


class Actor:
    """Sends zeros at the robot's own rate, for as long as the client is there."""

    def __init__(self, env: PolicyClient, zeros: Array, metadata: dict[Any, Any]) -> None:
        self.sent = 0
        try:
            hz = min(max(float(metadata.get("control_hz", 20.0)), 0.1), 1000.0)
        except (TypeError, ValueError):
            hz = 20.0

        def send() -> None:
            with contextlib.suppress(OSError):  # the connection has ended, and with it the probe, which tells why
                while True:
                    env.apply_action(zeros)
                    self.sent += 1
                    time.sleep(1.0 / hz)

        threading.Thread(target=send, daemon=True).start()


def add_cost_as_documented(run: _native.ProbeRun, env: PolicyClient, words: str) -> None:
    """What a few observations cost of which nothing special is wanted."""
    before, looks, round_trips = env.stats()["bytes_received"], 20, []
    for _ in range(looks):
        asked = time.monotonic()
        env.get_obs()
        round_trips.append(time.monotonic() - asked)
    run.wanted(words, (env.stats()["bytes_received"] - before) / looks, statistics.median_low(round_trips))


def measure(env: PolicyClient, arguments: argparse.Namespace, metadata: dict[Any, Any], run: _native.ProbeRun) -> None:
    """Asks until the count or the time is over. What has come until an error stays in `run`."""
    period = 1.0 / arguments.hz if arguments.hz > 0 else 0.0
    bytes_before = env.stats()["bytes_received"]
    request = request_for(None if arguments.want is None else arguments.want[1])
    actor = None
    actions = 0
    due = began = time.monotonic()
    end = began + arguments.seconds if arguments.seconds > 0 else math.inf
    zeros: Array = np.zeros((1, 1), np.float32)
    for i in progress(arguments.count):
        time.sleep(max(0.0, due - time.monotonic()))
        if i > 0 and time.monotonic() >= end:
            break
        due += period
        asked = time.monotonic()
        if arguments.legacy and i > 0:
            received = env._native.step(*_action(zeros), None)[0]
            actions += 1
        elif arguments.legacy:
            received, _ = env._native.reset()
        else:
            received = env._native.get_obs(request)
        now = time.monotonic()
        if actor is not None:
            actions = actor.sent
        run.add(received, now - asked, now - began, env.stats()["bytes_received"] - bytes_before, actions)
        if i == 0:
            zeros = zero_action(metadata, received)
            if arguments.act:
                actor = Actor(env, zeros, metadata)


def text_of(value: Any) -> str:
    """A value of MessagePack as C++ clients get it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)


def tell(told: dict[str, Any]) -> None:
    """The numbers of a run for people; the fields are those of its JSON."""
    if told["metadata"]:
        table("metadata", ("key", "value"), told["metadata"].items())
    trip = told["round_trip_ms"]
    if trip is None:
        return

    def array(shape: list[int] | None, dtype: str) -> str:
        return "-" if shape is None else f"{tuple(shape)} {dtype}"

    rows = []
    for source in (*told["cameras"], *told["proprios"], *told["slots"]):
        if "image_shape" in source:
            shapes = array(source["image_shape"], source["image_dtype"]), array(source["depth_shape"], source["depth_dtype"])
        else:
            shapes = array(source.get("shape", [source.get("size")]), source["dtype"]), "-"
        rate = None if source["rate_hz"] is None else f"{source['rate_hz']:.1f}"
        age = None if source["age_ms"] is None else f"{source['age_ms']['p50']:.1f} / {source['age_ms']['max']:.1f}"
        rows.append((source["name"], *shapes, rate, age, source["seen"], source["missed"], source["status"]))
    table("sources", ("name", "shape", "depth", "Hz", "age p50 / max, ms", "seen", "missed", "status"),
          [["-" if cell is None else cell for cell in row] for row in rows])
    table(
        f"{told['observations']} observations in {told['seconds']:.2f} s",
        ("round trip p50", "p99", "max", "MB/s", "actions"),
        [(*(f"{trip[part]:.2f} ms" for part in ("p50", "p99", "max")), f"{told['megabytes_per_s']:.1f}", told["actions"])],
    )
    if (want := told["want"]) is not None:
        table(
            "an observation",
            ("", "kB", "round trip p50"),
            [("as documented", f"{want['documented_bytes'] / 1e3:.1f}", f"{want['documented_round_trip_ms']:.2f} ms"),
             ("as wanted", f"{told['bytes'] / told['observations'] / 1e3:.1f}", f"{trip['p50']:.2f} ms")],
        )


def probe(arguments: argparse.Namespace, options: dict[str, Any]) -> int:
    if arguments.ca:
        options["tls_ca_file"] = arguments.ca
    if arguments.insecure:
        options["tls_verify"] = False
    if arguments.zenoh_config:
        options["zenoh_config_file"] = arguments.zenoh_config
    if arguments.count is None:
        arguments.count = 0 if arguments.seconds > 0 else 100
    run = _native.ProbeRun(re.sub(r"access_token=[^&]*", "access_token=...", arguments.uri), arguments.legacy)
    began = time.monotonic()
    env = PolicyClient(arguments.uri, connect_timeout=arguments.timeout, **options)
    interrupted = failed = False
    try:
        try:
            env.connect()
        except ValueError as error:
            print(f"python -m chiral: {error}", file=sys.stderr)
            return 2
        connected = time.monotonic() - began
        metadata = env.get_metadata()
        run.connected(connected, {str(key): text_of(value) for key, value in metadata.items()})
        if arguments.want is not None:
            add_cost_as_documented(run, env, arguments.want[0])
        measure(env, arguments, metadata, run)
    except (ConnectionError, LoanError) as error:
        failed = True
        run.failed(str(error))
        print(f"python -m chiral: {printable(str(error))}", file=sys.stderr)
    except KeyboardInterrupt:
        interrupted = True
    env.close()
    numbers = run.json()
    tell(json.loads(numbers))
    if arguments.json:
        pathlib.Path(arguments.json).write_text(numbers, encoding="utf-8")
    if arguments.save:
        print("saved the last observation:", *run.save(pathlib.Path(arguments.save)), sep="\n  ")
    if failed:
        return 1
    # Without a limit, Ctrl-C is how it is done.
    return 130 if interrupted and (arguments.count > 0 or arguments.seconds > 0) else 0
