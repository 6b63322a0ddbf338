# SPDX-License-Identifier: Apache-2.0
"""protocol="zenoh": ours with the documented Python programs in both directions, and with ours. Over Zenoh itself, on loopback."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import chiral
import documented  # tests/zenoh
import numpy as np
import pytest
from chiral.__main__ import main

from conftest import DEADLINE, SmallRobot, eventually


@pytest.fixture
def robot() -> Iterator[SmallRobot]:
    with SmallRobot(protocol="zenoh") as served:
        yield served


def client_at(port: int) -> chiral.PolicyClient:
    return chiral.PolicyClient(f"tcp/127.0.0.1:{port}", protocol="zenoh", connect_timeout=DEADLINE, request_timeout=DEADLINE)


def test_the_documented_ports_hosts_and_addresses() -> None:
    class Nowhere(SmallRobot):
        def __init__(self) -> None:
            super().__init__(host=None, port=None, protocol="zenoh")

    assert (Nowhere().host, Nowhere().port) == ("127.0.0.1", 7447)
    assert chiral.PolicyClient(protocol="zenoh").uri == "tcp/localhost:7447"


def test_ours_with_ours(robot: SmallRobot) -> None:
    robot.update_image("wrist", np.arange(72, dtype=np.uint8).reshape(4, 6, 3))
    with client_at(robot.port) as env:
        observation, info = env.reset()
        assert info == {} and robot.resets == 1
        assert np.array_equal(observation["wrist"].image.ravel(), np.arange(72))
        env.start_obs_stream(hz=50.0)
        env.start_action_dispatch(hz=50.0)
        for _ in range(3):
            assert env.wait_obs(DEADLINE) is not None
            env.put_action(np.ones(7, np.float32))
        eventually(lambda: len(robot.actions) == 3)


def test_a_documented_client_with_our_server(robot: SmallRobot) -> None:
    client = documented.Client(robot.port)
    assert client.connect() == {}
    assert client.ask("reset")[0]["type"] == "reset_response"
    client.act([1.0, 2.0])
    header, _ = client.ask("obs_request")
    assert [camera["name"] for camera in header["cameras"]] == ["wrist", "head"]
    eventually(lambda: len(robot.actions) == 1)
    assert robot.actions[0].tolist() == [1.0, 2.0]
    client.close()


def test_our_client_with_a_documented_server() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = documented.Server(port)
    with client_at(port) as env:
        assert env.get_metadata() == {"robot": "documented", "joints": 7}
        env.reset()
        env.apply_action(np.array([3.0], np.float32))
        assert server.actions.get(timeout=DEADLINE).tolist() == [3.0]
        assert env.get_obs()["cam"].image.max() == 1
    server.close()


def test_robots_are_listed(robot: SmallRobot, capsys: pytest.CaptureFixture[str]) -> None:
    found = chiral.find_robots(f"tcp/127.0.0.1:{robot.port}", DEADLINE)
    assert [one.prefix for one in found] == ["chiral"]
    assert main(["robots", f"tcp/127.0.0.1:{robot.port}"]) == 0
    assert found[0].id in capsys.readouterr().out
