# SPDX-License-Identifier: Apache-2.0
"""The policy's side: arrays over the message that came, streams that tell when they end, actions in order."""

from __future__ import annotations

import asyncio
import gc
import inspect
import pathlib
import subprocess
import threading
import time
from typing import Any

import chiral
import numpy as np
import pytest

from conftest import DEADLINE, SmallRobot, client_of, eventually


def test_arrays_lie_in_the_message_and_outlive_the_client(robot: SmallRobot) -> None:
    robot.update_image("wrist", np.arange(72, dtype=np.uint8).reshape(4, 6, 3))
    robot.update_depth("wrist", np.arange(24, dtype=np.float32).reshape(4, 6))
    env = client_of(robot).connect()
    obs = env.get_obs()
    image, depth = obs["wrist"].image, obs["wrist"].depth
    assert depth is not None and not image.flags.owndata and not image.flags.writeable
    # image0 and depth0 follow each other in the payload, and so they do in memory.
    assert depth.ctypes.data - image.ctypes.data == image.nbytes
    env.close()
    del env, obs
    gc.collect()
    assert image.tolist() == np.arange(72).reshape(4, 6, 3).tolist() and depth[3, 5] == 23


def test_writable_arrays_are_copies(robot: SmallRobot) -> None:
    with client_of(robot, writable=True) as env:
        obs, _ = env.reset()
        obs["wrist"].image[...] = 1
        obs.proprios["joint_pos"][0] = 1
    with client_of(robot) as env:
        copy = env.get_obs().copy()
        copy["wrist"].image[...] = 2


def test_latest_obs_is_none_first_then_of_reset_then_of_the_stream(robot: SmallRobot) -> None:
    with client_of(robot) as env:
        assert env.latest_obs is None
        obs, _ = env.reset()
        assert env.latest_obs is obs
        env.start_obs_stream(hz=200)
        first = env.wait_obs(timeout=60)
        second = env.wait_obs(timeout=60)
        assert first is not None and second is not None and second.snapshot_time > first.snapshot_time
        env.stop_obs_stream()
        assert env.latest_obs is env.latest_obs


def test_get_obs_works_beside_a_running_stream_and_a_second_start_is_refused(robot: SmallRobot) -> None:
    with client_of(robot) as env:
        env.start_obs_stream(hz=500)
        for _ in range(20):
            env.get_obs()
        with pytest.raises(RuntimeError, match="stream"):
            env.start_obs_stream(hz=30)
        env.start_action_dispatch()
        with pytest.raises(RuntimeError, match="dispatch"):
            env.start_action_dispatch()


def test_the_end_of_a_stream_surfaces(robot: SmallRobot) -> None:
    with client_of(robot) as env:
        env.start_obs_stream(hz=100)
        env.wait_obs(timeout=60)
        robot.stop()
        eventually(lambda: not env.connected)

        def raised() -> bool:
            try:
                _ = env.latest_obs
            except chiral.ConnectionError:
                return True
            return False

        eventually(raised, "the error of the stream")


def test_queued_actions_are_dispatched_in_order_and_the_queue_is_bounded(robot: SmallRobot) -> None:
    with client_of(robot, max_queued_actions=3) as env:
        for value in range(3):
            env.put_action([value])
        with pytest.raises(RuntimeError, match="3 actions are waiting"):
            env.put_action([9])
        assert env.queued_actions == 3
        env.start_action_dispatch(hz=200)
        eventually(lambda: len(robot.actions) == 3)
    assert [int(action[0]) for action in robot.actions] == [0, 1, 2]


def test_a_new_chunk_takes_the_place_of_the_old_one(robot: SmallRobot) -> None:
    with client_of(robot, max_queued_actions=3) as env:
        env.put_action([9, 9])
        env.replace_actions([[1, 2], [3, 4], [5, 6]])
        assert env.queued_actions == 3
        with pytest.raises(RuntimeError, match="a chunk of 4 actions"):
            env.replace_actions(np.zeros((4, 2)))
        env.start_action_dispatch(hz=200)
        eventually(lambda: len(robot.actions) == 3)
        env.stop_action_dispatch()
        env.put_action([7, 7])
        env.clear_actions()
        assert env.queued_actions == 0
    assert [action.tolist() for action in robot.actions] == [[1, 2], [3, 4], [5, 6]]


@pytest.mark.parametrize(
    ("action", "error", "told"),
    [
        (1.0, ValueError, r"shape \(\), expected"),
        (np.zeros((1, 2, 3)), ValueError, "expected"),
        ([], ValueError, "positive"),
        ([float("nan")], ValueError, "finite"),
        (np.array([1j]), TypeError, "complex128"),
        (["a"], TypeError, "expected float32"),
    ],
)
def test_actions_that_nobody_could_execute_are_refused_here(robot: SmallRobot, action: Any, error: type, told: str) -> None:
    with client_of(robot) as env:
        for send in (env.apply_action, env.put_action):
            with pytest.raises(error, match=told):
                send(action)


def test_connect_waits_for_a_server_and_says_so_when_none_comes() -> None:
    with pytest.raises(ConnectionError, match="no connection after"):
        chiral.PolicyClient("ws://127.0.0.1:1", connect_timeout=0.2).connect()
    with pytest.raises(ConnectionError, match="connect"):
        chiral.PolicyClient().get_obs()
    with pytest.raises(ValueError, match="ftp"):
        chiral.PolicyClient("ftp://robot").connect()
    with pytest.raises(TypeError, match="unknown option 'retries'"):
        chiral.PolicyClient(retries=3)


def test_the_interpreter_runs_on_while_a_client_waits() -> None:
    release = threading.Event()

    class Slow(SmallRobot):
        async def get_obs(self) -> chiral.Observation:
            await asyncio.get_running_loop().run_in_executor(None, release.wait)
            return self._make_obs()

    with Slow() as server, client_of(server) as env:
        waiting = threading.Thread(target=env.get_obs)
        waiting.start()
        counted = 0
        while counted < 1000:
            counted += 1
            time.sleep(0)
        assert waiting.is_alive()
        release.set()
        waiting.join(60)
        assert not waiting.is_alive()


def test_the_legacy_step_is_answered(robot: SmallRobot) -> None:
    with client_of(robot) as env:
        obs, reward, terminated, truncated, info = env.step([1, 2])
        assert obs["wrist"].image.shape == (4, 6, 3) and (reward, terminated, truncated, info) == (0.0, False, False, {})
    assert robot.actions[0].tolist() == [1, 2]


def test_the_asyncio_client_leaves_the_loop_free(robot: SmallRobot) -> None:
    async def main() -> None:
        async with chiral.AsyncPolicyClient(f"ws://127.0.0.1:{robot.port}") as env:
            obs, _ = await env.reset()
            assert obs["wrist"].image.shape == (4, 6, 3)
            observations = await asyncio.gather(*(env.get_obs() for _ in range(8)))
            assert len(observations) == 8
            await env.start_obs_stream(hz=100)
            assert await env.wait_obs(timeout=60) is not None
            await env.apply_action([1])
            env.put_action([2])
            await env.start_action_dispatch(hz=100)
            while len(robot.actions) < 2:
                await asyncio.sleep(0.001)

    asyncio.run(main())


def test_the_asyncio_client_has_every_name_of_the_other_with_its_arguments() -> None:
    def public(client: type) -> dict[str, Any]:
        return {name: list(inspect.signature(value).parameters.values()) if inspect.isfunction(value) else type(value)
                for name, value in vars(client).items() if not name.startswith("_")}

    assert public(chiral.AsyncPolicyClient) == public(chiral.PolicyClient) and len(public(chiral.PolicyClient)) > 15


def test_calls_that_wait_keep_neither_an_action_nor_the_end_of_a_client_from_starting() -> None:
    class Robot(SmallRobot):
        go_on = threading.Event()

        def reset(self) -> Any:  # as a person who sets the scene
            assert self.go_on.wait(DEADLINE)
            return self._make_obs(), {}

    async def main(port: int) -> None:
        env = await chiral.AsyncPolicyClient(f"ws://127.0.0.1:{port}", connect_timeout=DEADLINE).connect()
        resets = [asyncio.ensure_future(env.reset()) for _ in range(8)]
        await asyncio.sleep(0)
        await env.apply_action([1])
        await env.close()
        ended = await asyncio.gather(*resets, return_exceptions=True)
        assert all(isinstance(end, chiral.ConnectionError) for end in ended)

    with Robot() as server:
        try:
            asyncio.run(asyncio.wait_for(main(server.port), DEADLINE / 2))
        finally:
            server.go_on.set()


def test_the_asyncio_client_observes_in_blocks_and_waits_for_frames(tmp_path: pathlib.Path) -> None:
    async def main(uri: str) -> None:
        async with chiral.AsyncPolicyClient(uri, connect_timeout=60) as env:
            async with env.observe() as obs:
                newest = obs["wrist"].sequence
            with pytest.raises(RuntimeError, match="block has ended"):
                obs["wrist"].image.sum()
            assert newest == 1 and await env.wait_frame("wrist", newest, 0.01) is None
            waiting = asyncio.ensure_future(env.wait_frame("wrist", newest, 60))
            robot.update_image("wrist", 2)
            assert await waiting == 2

    with SmallRobot(local_socket=str(tmp_path / "robot")) as robot:
        robot.update_image("wrist", 1)
        asyncio.run(main(f"unix://{tmp_path}/robot"))


def test_tls_lets_only_a_trusted_server_have_the_token(tmp_path: pathlib.Path) -> None:
    def certificate(name: str) -> dict[str, str]:
        files = {"tls_certificate_file": str(tmp_path / f"{name}.pem"), "tls_private_key_file": str(tmp_path / f"{name}.key")}
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
                        "-keyout", files["tls_private_key_file"], "-out", files["tls_certificate_file"], "-subj", f"/CN={name}",
                        "-addext", "subjectAltName=IP:127.0.0.1"], check=True, capture_output=True)
        return files

    robots, others = certificate("robot"), certificate("other")
    with SmallRobot(bearer_token="secret", **robots) as server:
        uri = f"wss://127.0.0.1:{server.port}"
        with chiral.PolicyClient(uri, bearer_token="secret", tls_ca_file=robots["tls_certificate_file"], connect_timeout=60) as env:
            assert env.reset()[0]["wrist"].image.shape == (4, 6, 3)
        for trusted in ({"tls_ca_file": others["tls_certificate_file"]}, {}):
            with pytest.raises(chiral.ConnectionError, match="certificate"):
                chiral.PolicyClient(uri, bearer_token="secret", connect_timeout=60, **trusted).connect()
        with chiral.PolicyClient(uri, bearer_token="secret", tls_verify=False, connect_timeout=60) as env:
            env.get_obs()
        with pytest.raises(chiral.ConnectionError, match="401"):
            chiral.PolicyClient(uri, bearer_token="guess", tls_verify=False, connect_timeout=60).connect()


def test_cancelling_a_call_that_waits_ends_it() -> None:
    class Stuck(SmallRobot):
        async def get_obs(self) -> chiral.Observation:
            await asyncio.sleep(3600)
            raise AssertionError

    async def main(port: int) -> None:
        env = await chiral.AsyncPolicyClient(f"ws://127.0.0.1:{port}", request_timeout=3600).connect()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(env.get_obs(), 0.1)
        assert not env.connected

    with Stuck() as server:
        asyncio.run(main(server.port))
