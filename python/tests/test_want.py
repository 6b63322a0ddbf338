# SPDX-License-Identifier: Apache-2.0
"""A client asks for what its policy needs, and gets plain arrays of it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import chiral
import numpy as np
import pytest

from conftest import SmallRobot, client_of, eventually


class TwoEyes(SmallRobot):
    def camera_configs(self) -> list[chiral.CameraConfig]:
        return [
            chiral.CameraConfig("wrist", height=48, width=64, has_depth=True),
            chiral.CameraConfig("rear", height=48, width=64),
        ]


@pytest.fixture
def eyes() -> Iterator[TwoEyes]:
    with TwoEyes() as server:
        assert isinstance(server, TwoEyes)
        publish(server, 100)
        yield server


def publish(server: chiral.PolicyServer, level: int) -> None:
    image = np.full((48, 64, 3), level, np.uint8)
    image[..., 2] = 10  # a blue that is not its red
    server.update_image("wrist", image)
    server.update_image("rear", image)
    server.update_depth("wrist", np.full((48, 64), 1.2344, np.float32))


SMALL = chiral.Want(size=24, fit="crop", image="jpeg", quality=95, depth="millimetres", cameras={"rear": {"image": "none"}})


def test_arrays_are_plain_and_in_the_size_that_was_asked_for(eyes: TwoEyes) -> None:
    with client_of(eyes) as env:
        obs = env.get_obs(SMALL)
        wrist, rear = obs["wrist"], obs["rear"]
        assert wrist.image.shape == (24, 24, 3) and wrist.image.dtype == np.uint8
        assert abs(int(wrist.image[12, 12, 0]) - 100) <= 3 and abs(int(wrist.image[12, 12, 2]) - 10) <= 3
        assert wrist.depth is not None and wrist.depth.shape == (24, 24)
        assert wrist.depth.dtype == np.float32 and np.allclose(wrist.depth, 1.234)
        assert rear.image.size == 0 and rear.depth is None
        assert obs.proprios["joint_pos"].shape == (7,)
        assert env.get_obs()["wrist"].image.shape == (48, 64, 3)


@pytest.mark.parametrize("encoding", ["raw", "png", "zstd"])
def test_lossless_encodings_are_the_same_pixels(eyes: TwoEyes, encoding: str) -> None:
    image = np.arange(48 * 64 * 3, dtype=np.uint32).reshape(48, 64, 3).astype(np.uint8)
    depth = np.linspace(-1, 3, 48 * 64, dtype=np.float32).reshape(48, 64)
    eyes.update_image("wrist", image)
    eyes.update_depth("wrist", depth)
    with client_of(eyes) as env:
        want = {"image": encoding, "order": "bgr", "depth": "raw" if encoding == "raw" else "lossless"}
        wrist = env.get_obs(want)["wrist"]
        assert np.array_equal(wrist.image, image[..., ::-1])
        assert wrist.depth is not None and np.array_equal(wrist.depth, depth)


def test_a_dict_is_as_good_and_keywords_are_checked(eyes: TwoEyes) -> None:
    with client_of(eyes) as env:
        obs = env.get_obs({"size": (12, 20), "image": "png", "proprios": []})
        assert obs["rear"].image.shape == (12, 20, 3) and obs.proprios == {}
        for wrong, error in (
            ({"sise": 12}, TypeError),
            ({"cameras": {"wrist": {"budget": {}}}}, TypeError),
            ({"proprios": "joint_pos"}, TypeError),
            ({"fit": "squeeze"}, ValueError),
            ({"size": (100_000, 1)}, ValueError),
            ({"quality": 0}, ValueError),
            ({"budget": {"min_scale": 2}}, ValueError),
        ):
            with pytest.raises(error):
                env.get_obs(wrong)
        with pytest.raises(ValueError, match="fit is the string 'squeeze', expected stretch, crop or pad"):
            env.start_obs_stream(hz=30, want={"fit": "squeeze"})
        assert env.get_obs(SMALL) is not None  # on the same connection


def test_a_word_that_is_none_is_refused_where_it_is_written() -> None:
    for wrong in ({"image": "jpg"}, {"fit": "squeeze"}, {"order": "rbg"}, {"depth": 3}, {"cameras": {"rear": {"image": "jpg"}}}):
        with pytest.raises(ValueError, match=r"^\w+ is .*, expected \w+.* or \w+$"):
            chiral.Want(**wrong)
    with pytest.raises(ValueError, match="image is the string 'jpg', expected none, raw, jpeg, png or zstd"):
        chiral.CameraWish(image="jpg")  # type: ignore[arg-type]


def test_what_is_unchanged_is_named_and_shown_all_the_same(eyes: TwoEyes) -> None:
    want = chiral.Want(size=24, image="jpeg", only_if_newer=True)
    with client_of(eyes) as env:
        assert env.get_obs(want)["wrist"].unchanged == ()
        before = env.stats()["bytes_received"]
        same = env.get_obs(want)["wrist"]
        assert same.unchanged == ("image", "depth") and same.image.shape == (24, 24, 3)
        assert env.stats()["bytes_received"] - before < 2000
        eyes.update_depth("wrist", np.full((48, 64), 2.0, np.float32))
        newer = env.get_obs(want)["wrist"]
        assert newer.unchanged == ("image",)
        assert newer.depth is not None and newer.depth[0, 0] == 2.0
        assert np.array_equal(newer.image, same.image)


def test_a_stream_of_what_is_wanted_follows_the_robot(eyes: TwoEyes) -> None:
    with client_of(eyes) as env:
        env.start_obs_stream(hz=200, want=SMALL)
        first = env.wait_obs(timeout=60)
        assert first is not None and first["wrist"].image.shape == (24, 24, 3)
        publish(eyes, 200)

        def follows() -> Any:
            obs = env.wait_obs(timeout=60)
            return obs is not None and abs(int(obs["wrist"].image[0, 0, 0]) - 200) <= 3

        eventually(follows)
        assert abs(int(first["wrist"].image[0, 0, 0]) - 100) <= 3, "what is held stays what it is"


def test_the_client_for_asyncio_takes_wants_too(eyes: TwoEyes) -> None:
    async def look() -> tuple[int, ...]:
        async with chiral.AsyncPolicyClient(f"ws://127.0.0.1:{eyes.port}") as env:
            await env.start_obs_stream(hz=100, want=SMALL)
            streamed = await env.wait_obs(timeout=60)
            assert streamed is not None and streamed["wrist"].image.shape == (24, 24, 3)
            return (await env.get_obs({"size": 10}))["wrist"].image.shape

    assert asyncio.run(look()) == (10, 10, 3)


def test_what_a_hook_draws_is_scaled_for_its_client_alone(eyes: TwoEyes) -> None:
    class Drawing(TwoEyes):
        async def get_obs(self) -> chiral.Observation:
            obs = self._make_obs()
            obs["wrist"].image = np.full((48, 64, 3), 7, np.uint8)
            return obs

    with Drawing(max_observers=1) as server, client_of(server) as env:
        publish(server, 100)
        with chiral.PolicyClient(f"ws://127.0.0.1:{server.port}/observe", connect_timeout=60.0) as observer:
            want = {"size": 24, "image": "png"}
            assert env.get_obs(want)["wrist"].image[0, 0, 0] == 7
            assert observer.get_obs(want)["wrist"].image[0, 0, 0] == 100
            assert env.get_obs(want)["wrist"].image[0, 0, 0] == 7
