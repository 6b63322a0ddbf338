# SPDX-License-Identifier: Apache-2.0
"""Declared sources as the native server takes them."""

from __future__ import annotations

import math
import operator
from typing import Optional

import numpy as np
import numpy.typing as npt

from .types import Array, CameraConfig, ProprioConfig, SlotConfig

Limits = tuple[Optional[float], Optional[int], float]  # stale_after, frozen_after, expected_hz
CameraTuple = tuple[
    str, int, int, int, bool, Array, Array, str, str, float, bool, str, int, Limits, tuple[Optional[int], Optional[int]]
]
ProprioTuple = tuple[str, int, Limits, list[str], str]
SlotTuple = tuple[str, int, str, list[int], Optional[float], int, int]

_DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float16", "float32", "float64")


def camera_tuple(config: CameraConfig) -> CameraTuple:
    where = f"camera '{config.name}'"
    return (
        config.name,
        config.height,
        config.width,
        config.channels,
        config.has_depth,
        np.ascontiguousarray(config.intrinsics, dtype=np.float64),
        np.ascontiguousarray(config.extrinsics, dtype=np.float64),
        _dtype_name(config.image_dtype, where, "image_dtype"),
        _dtype_name(config.depth_dtype, where, "depth_dtype"),
        float(config.depth_unit),
        bool(config.two_dimensional),
        config.encoding,
        int(config.max_encoded_bytes),
        _limits(config, where),
        (_readers(config.readers, where, "readers"), _readers(config.depth_readers, where, "depth_readers")),
    )


def proprio_tuple(config: ProprioConfig) -> ProprioTuple:
    return config.name, config.size, _limits(config, f"proprio '{config.name}'"), list(config.element_names), config.unit


def slot_tuple(config: SlotConfig) -> SlotTuple:
    where = f"slot '{config.name}'"
    dtype = np.dtype(config.dtype)
    if dtype.hasobject or dtype.itemsize == 0:
        raise ValueError(f"{where}: dtype is {dtype.str}, expected one of a fixed size, without objects")
    size = dtype.itemsize * math.prod(config.shape)
    carried = (dtype.name, list(config.shape) or [1]) if dtype.name in _DTYPES and dtype.isnative else ("uint8", [size])
    return (
        config.name,
        size,
        *carried,
        _stale_after(config.stale_after, where),
        _frozen_after(config.frozen_after, where),
        _whole(config.readers, where, "readers"),
    )


def _dtype_name(declared: npt.DTypeLike, where: str, what: str) -> str:
    """Numpy's name of a dtype that the wire can carry."""
    dtype = np.dtype(declared)
    if dtype.name not in _DTYPES or not dtype.isnative:
        raise ValueError(f"{where}: {what} is {dtype.str}, expected {', '.join(_DTYPES)} in native byte order")
    return str(dtype.name)


def _limits(config: CameraConfig | ProprioConfig, where: str) -> Limits:
    return (
        _stale_after(config.stale_after, where),
        None if config.frozen_after is None else _frozen_after(config.frozen_after, where),
        float(config.expected_hz),
    )


def _stale_after(seconds: float | None, where: str) -> float | None:
    if seconds is not None and not seconds > 0:
        raise ValueError(f"{where}: stale_after is {seconds}, expected seconds, more than 0")
    return seconds


def _frozen_after(samples: int, where: str) -> int:
    samples = _whole(samples, where, "frozen_after")
    if not 0 <= samples < 2**63:
        raise ValueError(f"{where}: frozen_after is {samples}, expected samples in a row, or 0 for never")
    return samples


def _readers(readers: int | None, where: str, what: str) -> int | None:
    return None if readers is None else _whole(readers, where, what)  # how many may be is the server's to say


def _whole(value: int, where: str, what: str) -> int:
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{where}: {what} is {value!r}, expected a whole number") from None
