# SPDX-License-Identifier: Apache-2.0
"""The wheel as others get it: built by pip, repaired by auditwheel, installed where there is nothing else of this project.

What is compiled is the extension under test: pip packages that one (CHIRAL_PYTHON_EXTENSION), and compiles nothing.
"""

from __future__ import annotations

import os
import pathlib
import re
import socket
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from typing import Any

import chiral
import msgpack
import numpy as np
import pytest

from conftest import DEADLINE

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOLS = pathlib.Path(sys.executable).parent
SYSTEMS_OWN = ("libssl.so.3", "libcrypto.so.3")  # see "The wheel" in python/README.md


def run(*command: object, **options: Any) -> str:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=5 * DEADLINE, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@dataclass
class Installed:
    wheel: pathlib.Path
    python: pathlib.Path
    folder: pathlib.Path  # empty

    def bare(self) -> dict[str, Any]:
        """How a process is started that knows of nothing but the environment it is in."""
        return {"cwd": self.folder, "env": {"PATH": os.defpath, "HOME": str(self.folder)}}

    def run(self, *arguments: object) -> str:
        return run(self.python, *arguments, **self.bare())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    work = tmp_path_factory.mktemp("wheel")
    extension = pathlib.Path(chiral._native.__file__ or "").resolve()
    run(TOOLS / "pip", "wheel", ROOT, "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", work / "built",
        f"--config-settings=cmake.define.CHIRAL_PYTHON_EXTENSION={extension}")
    (built,) = (work / "built").iterdir()
    excluded = [word for library in SYSTEMS_OWN for word in ("--exclude", library)]
    run(TOOLS / "auditwheel", "repair", *excluded, "--wheel-dir", work / "repaired", built,
        env={**os.environ, "PATH": f"{TOOLS}:{os.environ['PATH']}"})  # auditwheel calls patchelf
    (wheel,) = (work / "repaired").iterdir()

    run(sys.executable, "-m", "venv", "--without-pip", work / "venv")
    python = work / "venv" / "bin" / "python"
    run(TOOLS / "pip", "--python", python, "install", "--no-index", "--no-deps", wheel)
    # What it depends on is what the tests have, so that nothing is fetched.
    needed = {pathlib.Path(module.__file__ or "").parent for module in (np, msgpack)}
    (packages,) = (work / "venv" / "lib").glob("python*/site-packages")
    for folder in [*needed, *next(iter(needed)).parent.glob("numpy.libs")]:
        (packages / folder.name).symlink_to(folder)
    (work / "empty").mkdir()
    return Installed(wheel, python, work / "empty")


def test_it_holds_the_package_and_its_libraries_but_not_the_systems_tls(installed: Installed) -> None:
    with zipfile.ZipFile(installed.wheel) as wheel:
        names = wheel.namelist()
        metadata = wheel.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert re.search(r"-cp3\d+-cp3\d+-manylinux_2_\d+_", installed.wheel.name), installed.wheel.name
    package = {name.removeprefix("chiral/") for name in names if name.startswith("chiral/")} - {""}
    sources = {path.name for path in (ROOT / "python" / "chiral").iterdir() if path.is_file()}
    assert {name for name in package if not name.startswith("_native.c")} == sources
    libraries = {re.sub(r"-[0-9a-f]{8}.*", "", name.removeprefix("chiral.libs/")) for name in names if name.startswith("chiral.libs/")}
    assert {"libpng16", "libturbojpeg", "libzstd"} <= libraries and not {"libssl", "libcrypto"} & libraries, libraries
    assert "Requires-Python: >=3.10\n" in metadata and f"Version: {chiral.__version__}\n" in metadata


WAYS = """
import os, re, sys
import chiral, chiral.testing
import numpy as np

def exchange(way, uri, **options):
    robot = chiral.testing.SimulatedRobot(cameras=1, camera_hz=0, proprio_hz=0, port=0, **options)
    try:
        robot.start()
    except (ValueError, RuntimeError, OSError) as error:  # a build without Zenoh
        print(way, "refused:", error)
        return
    protocol = options.get("protocol", "websocket")
    with chiral.PolicyClient(uri.format(port=robot.port), protocol, connect_timeout=60.0) as env:
        env.reset()
        robot.tick()
        obs = env.get_obs({"size": 24, "image": "jpeg"}) if way == "jpeg" else env.get_obs()
        print(way, obs["cam_0"].image.shape, obs["cam_0"].sequence)
    robot.stop()
    robot.wait()

exchange("websocket", "ws://127.0.0.1:{port}")
exchange("jpeg", "ws://127.0.0.1:{port}")
exchange("local", "unix://" + os.path.abspath("socket"), local_socket=os.path.abspath("socket"))
exchange("zenoh", "tcp/127.0.0.1:{port}", protocol="zenoh")
mapped = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
print("chiral is", chiral.__file__)
print("mapped:", *sorted(mapped))
"""


def test_it_serves_and_asks_over_every_transport_where_nothing_else_is(installed: Installed) -> None:
    told = installed.run("-c", WAYS)
    lines = told.splitlines()
    assert lines[:3] == ["websocket (48, 64, 3) 2", "jpeg (24, 24, 3) 2", "local (48, 64, 3) 2"], told
    if os.environ.get("CHIRAL_ZENOH") == "ON":
        assert lines[3] == "zenoh (48, 64, 3) 2", told
    else:
        assert "expected one with CHIRAL_ZENOH=ON" in lines[3], told
    venv = installed.python.parents[1]
    assert lines[4].startswith(f"chiral is {venv}"), told
    mapped = lines[5].split()[1:]
    of_the_project = [path for path in mapped if path.startswith(str(ROOT)) and "/site-packages/" not in path]
    assert not of_the_project, "nothing is taken from where it was built"
    for library in ("libpng16", "libturbojpeg", "libzstd"):
        assert any(path.startswith(str(venv)) and library in path for path in mapped), f"{library}: {mapped}"


def test_its_command_line_is_there(installed: Installed) -> None:
    assert chiral.__version__ in installed.run("-m", "chiral", "info")


def test_the_readmes_robot_and_policy_run_as_they_stand_there(installed: Installed) -> None:
    """With the documented port, which therefore has to be free."""
    readme = (ROOT / "python" / "README.md").read_text(encoding="utf-8")
    programs = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    for program in programs:
        assert len([line for line in program.splitlines() if line.strip()]) <= 10
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", 8765))
    robot = subprocess.Popen([str(installed.python), "-u", "-c", programs[0]], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                             text=True, **installed.bare())
    try:
        assert installed.run("-c", programs[1]) == ""
        assert robot.stdout is not None
        assert robot.stdout.readline() == "to the motors: [0. 0. 0. 0. 0. 0. 0.]\n"
    finally:
        robot.kill()
        robot.wait()
