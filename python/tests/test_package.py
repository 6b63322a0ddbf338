# SPDX-License-Identifier: Apache-2.0
"""What the package says of itself is so: its stub, the versions of Python that it is for, its names."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import pathlib
import re
import subprocess
import sys
from collections.abc import Callable

import chiral
import pytest

from conftest import SmallRobot

PACKAGE = pathlib.Path(chiral.__file__).resolve().parent
ROOT = pathlib.Path(__file__).resolve().parents[2]

Signatures = dict[str, "list[str] | None"]


def in_the_stub() -> Signatures:
    """Names of all arguments of each function, by its name; None for what is none."""
    found: Signatures = {}

    def add(nodes: list[ast.stmt], prefix: str) -> None:
        for node in nodes:
            if isinstance(node, ast.ClassDef):
                found[prefix + node.name] = None
                add(node.body, f"{prefix}{node.name}.")
            elif isinstance(node, ast.FunctionDef):
                names = [argument.arg for argument in node.args.args]
                found[prefix + node.name] = None if node.decorator_list else names

    add(ast.parse((PACKAGE / "_native.pyi").read_text(encoding="utf-8")).body, "")
    return found


def in_the_extension() -> Signatures:
    found: Signatures = {}

    def arguments(function: object) -> list[str]:
        (overload,) = function.__nb_signature__  # type: ignore[attr-defined]
        definition = re.sub(r"\\\d+", "0", overload[0])  # a default is numbered there
        node = ast.parse(f"{definition}: ...").body[0]
        assert isinstance(node, ast.FunctionDef)
        return [argument.arg for argument in node.args.posonlyargs + node.args.args]

    def add(members: dict[str, object], prefix: str) -> None:
        for name, value in members.items():
            if isinstance(value, type):
                found[prefix + name] = None
                add(vars(value), f"{prefix}{name}.")
            elif hasattr(value, "__nb_signature__"):
                found[prefix + name] = arguments(value)
            elif isinstance(value, property):
                found[prefix + name] = None

    add(vars(chiral._native), "")
    return found


def test_the_stub_has_every_name_of_the_extension_with_its_arguments() -> None:
    extension = in_the_extension()
    assert "Server.update_image" in extension and len(extension) > 50
    assert in_the_stub() == extension


def fields_of(struct: str, header: str) -> set[str]:
    """Data members of an option struct, as its header declares them."""
    text = re.sub(r"//.*| noexcept", "", (ROOT / header).read_text(encoding="utf-8"))
    body = re.search(rf"struct {struct} \{{\n(.*?)\n\}};", text, re.DOTALL)
    assert body is not None, struct
    declared = re.findall(r"^    (?!    )[\w:<>()&, *]+? ([\w, ]+?)(?: = [^;]*|\{\}|\{[^}]*\})?;", body[1], re.MULTILINE)
    return {name.strip() for names in declared for name in names.split(",")}


# Options of C++ that have another name here, and those that have none: a program in Python is not asked whether its signals are to be
# handled, has no memory of its own to lend, and no clock that C++ could read; slots of C++ types are C++'s.
RENAMED = {
    "LocalAccess": {"users": "local_users", "max_connections_per_user": "local_connections_per_user", "max_observers": "local_observers",
                    "only": "local_only", "direct_readers": "local_direct_readers"},
}
NOT_HERE = {"engine", "access", "local", "handle_signals", "hooks_one_at_a_time", "quiesce", "readers", "memory", "now", "slots", "guests",
            "guest_memory"}


def known_options(make: Callable[[], object]) -> set[str]:
    with pytest.raises(TypeError, match="there are: ") as refused:
        make()
    return set(str(refused.value).partition("there are: ")[2].split(", "))


def test_every_option_of_the_native_server_and_client_can_be_given() -> None:
    header = "server/include/chiral/options.hpp"
    for structs, file, make in (
        (("ServerOptions", "AccessOptions", "LocalAccess"), header, lambda: SmallRobot(nonsense=1)),
        (("EngineOptions",), "engine/include/chiral/engine_options.hpp", lambda: SmallRobot(nonsense=1)),
        (("ActionGateOptions",), header, lambda: SmallRobot(gate={"nonsense": 1})),
        (("WantOptions",), header, lambda: SmallRobot(wants={"nonsense": 1})),
        (("ZenohOptions",), header, lambda: SmallRobot(zenoh={"nonsense": 1})),
        (("ClientOptions",), "server/include/chiral/client.hpp", lambda: chiral.PolicyClient(nonsense=1)),
    ):
        declared = {RENAMED.get(struct, {}).get(name, name) for struct in structs for name in fields_of(struct, file)} - NOT_HERE
        assert declared and declared <= known_options(make), structs


def test_configs_have_the_fields_that_they_have_in_cpp() -> None:
    not_here = {"SlotConfig": {"bytes", "type"}}  # told by dtype and shape
    for config in (chiral.CameraConfig, chiral.ProprioConfig, chiral.SlotConfig):
        declared = fields_of(config.__name__, "engine/include/chiral/sources.hpp") - not_here.get(config.__name__, set())
        assert declared and declared == {field.name for field in dataclasses.fields(config)}, config


def test_every_public_name_is_documented() -> None:
    for name in chiral.__all__:
        value = getattr(chiral, name)
        if not inspect.isclass(value) or issubclass(value, Exception):
            continue
        assert inspect.getdoc(value), name
        for method, function in vars(value).items():
            if method.startswith("_") or not inspect.isfunction(function) or value is chiral.AsyncPolicyClient:
                continue  # AsyncPolicyClient has what PolicyClient has: see test_client.py
            assert inspect.getdoc(function), f"{name}.{method}"


def test_importing_it_turns_the_gil_on_where_that_can_be_off() -> None:
    """The binding counts on it: a free-threaded interpreter serves as others do, and warns."""
    done = subprocess.run([sys.executable, "-c", "import sys, chiral; sys.exit(not getattr(sys, '_is_gil_enabled', lambda: True)())"],
                          capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_it_needs_nothing_newer_than_the_oldest_python_that_it_declares() -> None:
    declared = re.findall(r'Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert declared[0] == "3.10" and 'requires-python = ">=3.10"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    vermin = pathlib.Path(sys.executable).parent / "vermin"
    done = subprocess.run(
        [vermin, f"--target={declared[0]}-", "--violations", "--no-tips", "--eval-annotations", PACKAGE, ROOT / "examples" / "python"],
        capture_output=True, text=True, check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
