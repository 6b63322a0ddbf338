# SPDX-License-Identifier: Apache-2.0
"""The house has floors: an #include leads to the same room, or to one that this room stands on, never up or sideways.

    include_arrows.py ROOT

Also: private headers declare nothing in the namespace of users, nothing outside server/ includes from server/src, nothing includes
from the private folder of another part, no public header includes a private one, and no files include each other in a circle.
ALLOWED is the drawing of docs/ARCHITECTURE.md in words.
"""
import pathlib
import re
import sys

# Room: the rooms that it stands on. A room is the longest of these paths that a file's path begins with.
ALLOWED = {
    "engine/include": [],
    "engine/src": ["engine/include"],
    "server/include": ["engine/include"],
    "server/src/wire": ["server/include", "engine/include"],
    "server/src/net": ["server/include", "engine/include"],
    "server/src/imaging": ["server/src/net", "server/include", "engine/include"],
    "server/src/robot": ["server/src/wire", "server/src/net", "server/src/imaging", "server/include", "engine/include"],
    "server/src/http": ["server/src/robot", "server/src/wire", "server/src/net", "server/src/imaging", "server/include",
                        "engine/include"],
    "server/src/websocket": ["server/src/http", "server/src/robot", "server/src/wire", "server/src/net", "server/src/imaging",
                             "server/include", "engine/include"],
    "server/src/local": ["server/src/robot", "server/src/wire", "server/src/net", "server/include", "engine/include"],
    "server/src/zenoh": ["server/src/http", "server/src/robot", "server/src/wire", "server/src/net", "server/include", "engine/include"],
    "server/src/client": ["server/src/net", "server/src/wire", "server/src/imaging", "server/include", "engine/include"],
    "server/src": ["server/src/websocket", "server/src/local", "server/src/zenoh", "server/src/http", "server/src/robot",
                   "server/src/wire", "server/src/net", "server/src/imaging", "server/include", "engine/include"],
    "server/tests": ["server/src", "server/src/wire", "server/src/net", "server/src/imaging", "server/src/robot",
                     "server/src/http", "server/src/websocket", "server/src/local", "server/src/zenoh", "server/src/client",
                     "server/include", "engine/include", "tests/support"],
    "server/zenoh": [],
    "tools": ["server/include", "engine/include"],
    "stress": ["tools", "server/include", "engine/include"],
    "bench": ["tools", "stress", "server/include", "engine/include"],
    "examples": ["server/include", "engine/include"],
    "python": ["tools", "server/include", "engine/include"],
    "tests/support": ["server/include", "engine/include"],
    "tests": ["tests/support", "tools", "stress", "bench", "engine/src", "server/include", "engine/include"],
}
ROOMS = sorted(ALLOWED, key=len, reverse=True)
INCLUDE = re.compile(r'^\s*#\s*include\s+(?:"([^"]+)"|<(chiral/[^>]+)>)', re.MULTILINE)
GENERATED = {"chiral/version.hpp", "live_page.hpp"}


def room_of(path: str) -> str:
    return next(room for room in ROOMS if path.startswith(room + "/"))


def sources(root: pathlib.Path) -> dict[str, str]:
    found = {}
    for top in sorted({room.split("/")[0] for room in ROOMS}):
        for suffix in ("*.hpp", "*.cpp"):
            for path in (root / top).rglob(suffix):
                name = path.relative_to(root).as_posix()
                if "/build/" not in f"/{name}":
                    found[name] = path.read_text(encoding="utf-8")
    return found


def candidates(including: str, included: str, files) -> list[str]:
    """Where an include may lead, nearest first: beside the file, the folders that compilers are given, then any file so named."""
    beside = pathlib.PurePosixPath(including).parent / included
    parts: list[str] = []
    for part in beside.parts:
        if part == ".." and parts:
            parts.pop()
        elif part != ".":
            parts.append(part)
    named = ["/".join(parts)] + [f"{folder}/{included}" for folder in (
        "server/src", "engine/include", "server/include", "tests/support", "tests", "tools", "stress", "bench", "engine/src",
        "server/tests")]
    return [name for name in named if name in files] or [name for name in files if name.endswith("/" + included)]


def graph(files: dict[str, str]) -> tuple[dict[str, list[str]], list[str]]:
    arrows, wrong = {}, []
    for name, text in files.items():
        arrows[name] = []
        for quoted, angled in INCLUDE.findall(text):
            included = quoted or angled
            leads_to = candidates(name, included, files)
            if leads_to:
                arrows[name].append(leads_to[0])
            elif included not in GENERATED:
                wrong.append(f"{name} includes \"{included}\", which is nowhere")
    return arrows, wrong


def wrong_arrows(arrows: dict[str, list[str]]) -> list[str]:
    wrong = []
    for name, includes in arrows.items():
        room = room_of(name)
        for included in includes:
            other = room_of(included)
            if other != room and other not in ALLOWED[room]:
                wrong.append(f"{name} includes {included}: {room} does not stand on {other}")
    return wrong


def circle(arrows: dict[str, list[str]]) -> list[str]:
    """The files of one circle, or nothing."""
    state: dict[str, int] = {}

    def walk(name: str, above: list[str]) -> list[str]:
        state[name] = 1
        for included in arrows[name]:
            if state.get(included) == 1:
                return [*above[above.index(included):], included] if included in above else [name, included]
            if included not in state and (found := walk(included, [*above, included])):
                return found
        state[name] = 2
        return []

    for name in arrows:
        if name not in state and (found := walk(name, [name])):
            return found
    return []


def wrong_names(files: dict[str, str]) -> list[str]:
    """Private headers that declare more than the existence of a public class in `namespace chiral` itself."""
    wrong = []
    for name, text in files.items():
        if not name.startswith(("server/src/", "engine/src/")) or not name.endswith(".hpp"):
            continue
        for inside in re.findall(r"^namespace chiral \{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
            if re.sub(r"^(?:class|struct) \w+;\n", "", inside, flags=re.MULTILINE).strip():
                wrong.append(f"{name} declares something in namespace chiral, which is its users'")
    return wrong


def main() -> int:
    root = pathlib.Path(sys.argv[1])
    files = sources(root)
    arrows, wrong = graph(files)
    wrong += wrong_arrows(arrows) + wrong_names(files)
    if around := circle(arrows):
        wrong.append("these include each other: " + " > ".join(around))
    count = sum(map(len, arrows.values()))
    print(f"{count} includes among {len(files)} files")
    print("\n".join(wrong))
    return 1 if wrong or count < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
