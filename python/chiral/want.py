# SPDX-License-Identifier: Apache-2.0
"""What a client wants of an observation, where that is less than everything."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

import msgpack  # type: ignore[import-untyped, unused-ignore]

__all__ = ["Budget", "CameraWish", "Want"]

Fit = Literal["stretch", "crop", "pad"]
ImageEncoding = Literal["none", "raw", "jpeg", "png", "zstd"]
DepthEncoding = Literal["none", "raw", "lossless", "millimetres", "millimetres_png"]
Order = Literal["rgb", "bgr"]
_WORDS = {"fit": get_args(Fit), "image": get_args(ImageEncoding), "order": get_args(Order), "depth": get_args(DepthEncoding)}


@dataclass(frozen=True)
class CameraWish:
    """What is wanted of one camera; None: as of all the others.

    size: (height, width) in pixels, of image and depth, or a number for a square; () for the camera's own. fit: how one aspect
    ratio becomes another. image, depth: how they travel; arrays are plain all the same, uint8 and float32 in metres. quality: of
    jpeg, 1 to 100. order: of the channels in the array.
    """

    size: int | Sequence[int] | None = None
    fit: Fit | None = None
    image: ImageEncoding | None = None
    quality: int | None = None
    order: Order | None = None
    depth: DepthEncoding | None = None

    def __post_init__(self) -> None:
        for name, words in _WORDS.items():
            if (word := getattr(self, name)) is not None and word not in words:
                what = f"the string '{word}'" if isinstance(word, str) else repr(word)
                raise ValueError(f"{name} is {what}, expected {', '.join(words[:-1])} or {words[-1]}")


@dataclass(frozen=True)
class Budget:
    """What a stream may cost. While it costs more, the server lowers quality, then size, then rate, each down to its bound, and
    says so in obs.extra: chiral.want_quality, chiral.want_scale, chiral.want_hz. It raises them again when there is room.

    bytes_per_second, latency (seconds from a request until its answer is there): 0: any.
    """

    bytes_per_second: float = 0.0
    latency: float = 0.0
    min_quality: int = 30
    min_scale: float = 0.5
    min_hz: float = 5.0


@dataclass(frozen=True)
class Want(CameraWish):
    """What is wanted of an observation: the fields of CameraWish for all cameras, and

    cameras: by name, a CameraWish or a dict of its fields, where one differs from the others. proprios: names of the streams;
    None: all. only_if_newer: what has not changed since the answer before is not sent again; the arrays are those that came
    then, and CameraInfo.unchanged names them. budget: a Budget or a dict of its fields.

        chiral.Want(size=224, image="jpeg", depth="millimetres", cameras={"rear": {"image": "none"}})
    """

    cameras: Mapping[str, CameraWish | Mapping[str, Any]] | None = None
    proprios: Sequence[str] | None = None
    only_if_newer: bool = False
    budget: Budget | Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        for wish in (self.cameras or {}).values():
            if not isinstance(wish, CameraWish):
                CameraWish(**wish)  # raises what is wrong with it


def _said(values: object) -> dict[str, Any]:
    """The fields of a dataclass that are not None."""
    return {field.name: value for field in fields(values) if (value := getattr(values, field.name)) is not None}  # type: ignore[arg-type]


def _wish(wish: CameraWish | Mapping[str, Any]) -> dict[str, Any]:
    said = _said(wish if isinstance(wish, CameraWish) else CameraWish(**wish))
    if "size" in said:
        size = said["size"]
        said["size"] = [size, size] if isinstance(size, int) else [int(side) for side in size]
    return said


def request_for(want: Want | Mapping[str, Any] | None) -> bytes | None:
    """The request that asks for it, as the extension checks it; None asks for the documented observation."""
    if want is None:
        return None
    if not isinstance(want, Want):
        want = Want(**want)
    asked = _wish(CameraWish(want.size, want.fit, want.image, want.quality, want.order, want.depth))
    if want.cameras is not None:
        asked["cameras"] = {name: _wish(wish) for name, wish in want.cameras.items()}
    if want.proprios is not None:
        if isinstance(want.proprios, str):
            raise TypeError(f"proprios is the string '{want.proprios}', expected a sequence of names")
        asked["proprios"] = list(want.proprios)
    asked["only_if_newer"] = want.only_if_newer
    if want.budget is not None:
        asked["budget"] = _said(want.budget if isinstance(want.budget, Budget) else Budget(**want.budget))
    header: bytes = msgpack.packb({"type": "obs_request", "want": asked})
    return struct.pack("<I", len(header)) + header
