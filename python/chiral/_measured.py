# SPDX-License-Identifier: Apache-2.0
"""What a probe measures: round trips, and for each source how current it was. The fields are those of chiral-probe: docs/JSON.md."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ._wire import STATUS
from .types import Array, CameraInfo, Observation

Json = dict[str, Any]


@dataclass
class Slot:
    """Data of the robot's own among an observation's `extra`."""

    name: str
    dtype: str
    shape: list[int]
    data: bytes
    timestamp: float
    sequence: int
    status: str


def slots_in(extra: Mapping[str, Any]) -> list[Slot]:
    """Whatever is not a slot in each of its fields is the program's own data, and left out."""
    slots = []
    for name, value in extra.items():
        if isinstance(value, dict) and value.keys() >= {"dtype", "shape", "data", "timestamp", "sequence", "status"}:
            status = value["status"]
            if isinstance(value["data"], bytes) and isinstance(status, int) and 0 <= status < len(STATUS):
                slots.append(Slot(name, value["dtype"], list(value["shape"]), value["data"], value["timestamp"], value["sequence"],
                                  STATUS[status]))
    return slots


def quantiles(values: Sequence[float]) -> Json | None:
    """Nearest rank, in milliseconds of seconds; None of nothing."""
    if not values:
        return None
    ordered = sorted(values)

    def rank(part: float) -> float:
        return ordered[max(1, math.ceil(part * len(ordered))) - 1] * 1e3

    return {"min": ordered[0] * 1e3, "p50": rank(0.5), "p90": rank(0.9), "p99": rank(0.99), "max": ordered[-1] * 1e3,
            "mean": sum(ordered) / len(ordered) * 1e3}


@dataclass
class Track:
    """One camera, stream or slot over the whole run."""

    name: str
    known: bool = False  # the server tells more than the documented fields
    first: tuple[int, float] | None = None  # sequence and capture time
    last: tuple[int, float] = (0, 0.0)
    looked: float = 0.0  # when the last snapshot was taken
    seen: int = 0
    missed: int = 0
    status: str = "never"
    by_status: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STATUS, 0))
    ages: list[float] = field(default_factory=list)

    def add(self, sequence: int, captured: float, missed: int, status: str, looked: float) -> None:
        if looked == 0.0:
            return
        self.known, self.status, self.looked = True, status, looked
        self.by_status[status] += 1
        if sequence == 0:  # nothing has been published yet
            return
        if self.first is None:  # what was missed before is not this run's
            self.first = (sequence, captured)
            self.seen += 1
        else:
            self.missed += missed
            self.seen += sequence != self.last[0]
        self.last = (sequence, captured)
        self.ages.append(looked - captured)

    def rate(self) -> float | None:
        """Samples per second by their numbers and capture times; counts the time since, once the source has stopped."""
        if not self.known:
            return None
        if self.first is None or self.last[0] <= self.first[0]:
            return None if self.status == "fresh" else 0.0
        samples, span = self.last[0] - self.first[0], self.last[1] - self.first[1]
        silence = self.looked - self.last[1]
        if silence * samples > 3.0 * span:
            span += silence
        return samples / span if span > 0.0 else None

    def json(self) -> Json:
        if not self.known:
            return dict.fromkeys(("sequence_first", "sequence_last", "rate_hz", "age_ms", "seen", "missed", "status",
                                  "observations_by_status"))
        return {"sequence_first": 0 if self.first is None else self.first[0], "sequence_last": self.last[0], "rate_hz": self.rate(),
                "age_ms": quantiles(self.ages), "seen": self.seen, "missed": self.missed, "status": self.status,
                "observations_by_status": self.by_status}


def _track(tracks: list[Track], index: int, name: str) -> Track:
    """A server that changes its sources, though none does, has them counted as what they are now."""
    if index == len(tracks):
        tracks.append(Track(name))
    elif tracks[index].name != name:
        tracks[index] = Track(name)
    return tracks[index]


class Measured:
    """Everything that one run of a probe learned."""

    def __init__(self, uri: str, legacy: bool) -> None:
        self.uri = uri
        self.legacy = legacy
        self.connect_seconds = 0.0
        self.metadata: Json = {}
        self.last: Observation | None = None
        self.round_trips: list[float] = []
        self.seconds = 0.0  # from the first request to the last answer
        self.bytes = 0  # of the observations' messages
        self.actions = 0  # sent
        self.want: Json | None = None
        self.error: str | None = None  # why it ended early
        self.cameras: list[Track] = []
        self.proprios: list[Track] = []
        self.slots: list[Track] = []

    def add(self, obs: Observation, round_trip: float) -> None:
        self.last = obs
        self.round_trips.append(round_trip)
        looked = obs.snapshot_time
        for i, camera in enumerate(obs.cameras):
            track = _track(self.cameras, i, camera.name)
            track.add(camera.sequence, camera.timestamp, camera.missed, camera.status, looked)
        for i, (name, stamp) in enumerate(obs.proprio_stamps.items()):
            _track(self.proprios, i, name).add(stamp.sequence, stamp.timestamp, stamp.missed, stamp.status, looked)
        for i, slot in enumerate(slots_in(obs.extra)):
            track = _track(self.slots, i, slot.name)
            track.add(slot.sequence, slot.timestamp, max(0, slot.sequence - track.last[0] - 1), slot.status, looked)

    def json(self) -> Json:
        seconds = self.seconds or 1.0
        obs = self.last or Observation([])
        return {
            "uri": self.uri,
            "dialect": "legacy" if self.legacy else "decoupled",
            "error": self.error,
            "connect_ms": self.connect_seconds * 1e3,
            "seconds": self.seconds,
            "observations": len(self.round_trips),
            "observations_per_s": len(self.round_trips) / seconds,
            "bytes": self.bytes,
            "megabytes_per_s": self.bytes / 1e6 / seconds,
            "actions": self.actions,
            "round_trip_ms": quantiles(self.round_trips),
            "want": self.want,
            "metadata": {str(key): text_of(value) for key, value in sorted(self.metadata.items())},
            "cameras": [_described(camera) | track.json() for camera, track in zip(obs.cameras, self.cameras)],
            "proprios": [{"name": name, "size": values.size, "dtype": "float32"} | track.json()
                         for (name, values), track in zip(obs.proprios.items(), self.proprios)],
            "slots": [{"name": slot.name, "shape": slot.shape, "dtype": slot.dtype} | track.json()
                      for slot, track in zip(slots_in(obs.extra), self.slots)],
        }


def _described(camera: CameraInfo) -> Json:
    depth: Array | None = camera.depth
    return {"name": camera.name, "image_shape": list(camera.image.shape), "image_dtype": camera.image.dtype.name,
            "depth_shape": None if depth is None else list(depth.shape), "depth_dtype": None if depth is None else depth.dtype.name,
            "depth_unit": camera.depth_unit if camera.depth_unit > 0 else None}


def text_of(value: Any) -> str:
    """A value of MessagePack as C++ clients get it: text as it is, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=str)
