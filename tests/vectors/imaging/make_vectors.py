#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the vectors of this folder with Pillow: what its bilinear filter, ImageOps.pad() and nearest make of a picture.

Needs Debian's python3-pil. Prints what it has written; the files are committed, so that tests need no Pillow.
"""

import json
import pathlib
import random
import struct

import PIL
from PIL import Image, ImageOps

HERE = pathlib.Path(__file__).parent
CASES = [  # height x width of the picture, channels, height x width wanted
    ((48, 64), 3, (22, 22)),
    ((48, 64), 3, (48, 64)),
    ((48, 64), 1, (17, 41)),
    ((48, 64), 3, (60, 30)),
    ((30, 50), 3, (61, 77)),
    ((64, 48), 4, (20, 33)),
    ((37, 53), 3, (36, 52)),
    ((9, 64), 3, (4, 4)),
    ((1, 1), 3, (5, 7)),
    ((40, 40), 1, (1, 1)),
]
MODES = {1: "L", 3: "RGB", 4: "RGBX"}  # RGBX: four channels of which none is alpha


def picture(height: int, width: int, channels: int) -> bytes:
    """Gradients, a chequerboard, noise and single bright pixels: what ringing, shifts and rounding show in."""
    noise = random.Random(height * 1000 + width)
    levels = bytearray()
    for y in range(height):
        for x in range(width):
            for c in range(channels):
                level = (x * 5 + y * (3 + c)) % 256
                if (x // 4 + y // 4) % 3 == 0:
                    level = 255 if (x + y + c) % 2 else 0
                if noise.random() < 0.1:
                    level = noise.randrange(256)
                levels.append(level)
    return bytes(levels)


def main() -> None:
    manifest = {"pillow": PIL.__version__, "images": [], "depths": []}
    for i, ((height, width), channels, (to_height, to_width)) in enumerate(CASES):
        source = picture(height, width, channels)
        image = Image.frombytes(MODES[channels], (width, height), source)
        black = 0 if channels == 1 else (0,) * channels
        size = (to_width, to_height)
        results = {
            "stretch": image.resize(size, Image.BILINEAR),
            "crop": ImageOps.fit(image, size, Image.BILINEAR),
            "pad": ImageOps.pad(image, size, Image.BILINEAR, color=black),
        }
        name = f"image_{i}"
        (HERE / f"{name}.bin").write_bytes(source + b"".join(results[fit].tobytes() for fit in ("stretch", "crop", "pad")))
        manifest["images"].append(
            {"file": f"{name}.bin", "from": [height, width], "channels": channels, "to": [to_height, to_width]}
        )
    # Odd sizes, so that no wanted pixel lies in the middle between two: either would be the nearest.
    for i, ((height, width), (to_height, to_width)) in enumerate([((25, 33), (10, 13)), ((13, 17), (30, 31))]):
        metres = [((x * 7 + y * 13) % 50) / 8 for y in range(height) for x in range(width)]
        image = Image.frombytes("F", (width, height), struct.pack(f"<{len(metres)}f", *metres))
        nearest = image.resize((to_width, to_height), Image.NEAREST)
        (HERE / f"depth_{i}.bin").write_bytes(image.tobytes() + nearest.tobytes())
        manifest["depths"].append({"file": f"depth_{i}.bin", "from": [height, width], "to": [to_height, to_width]})
    (HERE / "manifest.json").write_text(json.dumps(manifest, indent=1) + "\n")
    print(f"{len(CASES)} pictures and {len(manifest['depths'])} depth maps, by Pillow {PIL.__version__}")


main()
