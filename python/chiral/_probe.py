# SPDX-License-Identifier: Apache-2.0
"""python -m chiral probe: asks a server for observations and tells what came, as chiral-probe does."""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import pathlib
import re
import sys
import threading
import time
from typing import Any

import numpy as np

from . import ConnectionError, LoanError, PolicyClient
from ._measured import Measured, quantiles, slots_in, text_of
from ._save import save
from ._terminal import progress, table
from .types import Array, Observation


def zero_action(metadata: dict[Any, Any], obs: Observation) -> Array:
    """Zeros in the shape that the server's metadata asks for; without it, one value for each of its first stream."""

    def number(otherwise: int, *keys: str) -> int:
        for key in keys:
            with contextlib.suppress(KeyError, TypeError, ValueError):
                if 1 <= (value := int(float(metadata[key]))) <= 4096:
                    return value
        return otherwise

    first = next(iter(obs.proprios.values()), np.zeros(7))
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


def cost_as_documented(env: PolicyClient) -> dict[str, float]:
    """What a few observations cost of which nothing special is wanted."""
    before, looks, round_trips = env.stats()["bytes_received"], 20, []
    for _ in range(looks):
        asked = time.monotonic()
        env.get_obs()
        round_trips.append(time.monotonic() - asked)
    told = quantiles(round_trips)
    assert told is not None
    return {"documented_bytes": (env.stats()["bytes_received"] - before) / looks, "documented_round_trip_ms": told["p50"]}


def measure(env: PolicyClient, arguments: argparse.Namespace, measured: Measured) -> None:
    """Asks until the count or the time is over. What has come until an error stays in `measured`."""
    period = 1.0 / arguments.hz if arguments.hz > 0 else 0.0
    bytes_before = env.stats()["bytes_received"]
    want = None if arguments.want is None else arguments.want[1]
    actor = None
    due = began = time.monotonic()
    end = began + arguments.seconds if arguments.seconds > 0 else math.inf
    zeros = np.zeros((1, 1), np.float32)
    for i in progress(arguments.count):
        time.sleep(max(0.0, due - time.monotonic()))
        if i > 0 and time.monotonic() >= end:
            break
        due += period
        asked = time.monotonic()
        if arguments.legacy and i > 0:
            obs = env.step(zeros)[0]
            measured.actions += 1
        elif arguments.legacy:
            obs, _ = env.reset()
        else:
            obs = env.get_obs(want)
        now = time.monotonic()
        measured.add(obs, now - asked)
        measured.seconds = now - began
        measured.bytes = env.stats()["bytes_received"] - bytes_before
        if i == 0:
            zeros = zero_action(measured.metadata, obs)
            if arguments.act:
                actor = Actor(env, zeros, measured.metadata)
        if actor is not None:
            measured.actions = actor.sent


def tell(measured: Measured) -> None:
    if measured.metadata:
        table("metadata", ("key", "value"), [(key, text_of(value)) for key, value in measured.metadata.items()])
    count = len(measured.round_trips)
    if measured.last is None or count == 0:
        return
    obs = measured.last
    shapes: dict[str, tuple[str, str]] = {}
    for camera in obs.cameras:
        depth = "-" if camera.depth is None else f"{camera.depth.shape} {camera.depth.dtype}"
        shapes[camera.name] = (f"{camera.image.shape} {camera.image.dtype}", depth)
    shapes |= {name: (f"{values.shape} float32", "-") for name, values in obs.proprios.items()}
    shapes |= {slot.name: (f"{tuple(slot.shape)} {slot.dtype}", "-") for slot in slots_in(obs.extra)}
    rows = []
    for track in (*measured.cameras, *measured.proprios, *measured.slots):
        told = track.json()
        rate = "-" if told["rate_hz"] is None else f"{told['rate_hz']:.1f}"
        age = "-" if told["age_ms"] is None else f"{told['age_ms']['p50']:.1f} / {told['age_ms']['max']:.1f}"
        rows.append((track.name, *shapes[track.name], rate, age, told["seen"], told["missed"], told["status"]))
    table("sources", ("name", "shape", "depth", "Hz", "age p50 / max, ms", "seen", "missed", "status"),
          [["-" if cell is None else cell for cell in row] for row in rows])
    trip = quantiles(measured.round_trips)
    assert trip is not None
    table(
        f"{count} observations in {measured.seconds:.2f} s",
        ("round trip p50", "p99", "max", "MB/s", "actions"),
        [(*(f"{trip[part]:.2f} ms" for part in ("p50", "p99", "max")), f"{measured.bytes / measured.seconds / 1e6:.1f}", measured.actions)],
    )
    if measured.want is not None:
        wanted = measured.bytes / count
        table(
            "an observation",
            ("", "kB", "round trip p50"),
            [("as documented", f"{measured.want['documented_bytes'] / 1e3:.1f}", f"{measured.want['documented_round_trip_ms']:.2f} ms"),
             ("as wanted", f"{wanted / 1e3:.1f}", f"{trip['p50']:.2f} ms")],
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
    measured = Measured(re.sub(r"access_token=[^&]*", "access_token=...", arguments.uri), arguments.legacy)
    began = time.monotonic()
    env = PolicyClient(arguments.uri, connect_timeout=arguments.timeout, **options)
    interrupted = False
    try:
        try:
            env.connect()
        except ValueError as error:
            print(f"python -m chiral: {error}", file=sys.stderr)
            return 2
        measured.connect_seconds = time.monotonic() - began
        measured.metadata = env.get_metadata()
        if arguments.want is not None:
            measured.want = {"words": arguments.want[0], **cost_as_documented(env)}
        measure(env, arguments, measured)
    except (ConnectionError, LoanError) as error:
        measured.error = str(error)
        print(f"python -m chiral: {error}", file=sys.stderr)
    except KeyboardInterrupt:
        interrupted = True
    env.close()
    tell(measured)
    if arguments.json:
        pathlib.Path(arguments.json).write_text(json.dumps(measured.json(), indent=2) + "\n", encoding="utf-8")
    if arguments.save:
        if measured.last is None:
            raise ValueError("nothing to save: no observation came")
        print("saved the last observation:", *save(measured.last, pathlib.Path(arguments.save)), sep="\n  ")
    if measured.error is not None:
        return 1
    # Without a limit, Ctrl-C is how it is done.
    return 130 if interrupted and (arguments.count > 0 or arguments.seconds > 0) else 0
