# SPDX-License-Identifier: Apache-2.0
"""docs/JSON.md describes every field that chiral-stress and chiral-probe write, in the section of the program.

    json_fields.py DOCUMENT STRESS SERVE PROBE
"""
import json
import pathlib
import re
import subprocess
import sys
import tempfile

DEADLINE = 120.0
# Names that are data: of cameras, streams, and of what a server says about itself.
DATA = {"metadata"}


def fields(value, found):
    if isinstance(value, dict):
        for key, inner in value.items():
            found.add(key)
            if key not in DATA:
                fields(inner, found)
    elif isinstance(value, list):
        for inner in value:
            fields(inner, found)
    return found


def described(text, section):
    general, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    return set(re.findall(r"`([a-z0-9_]+)`", general + next(part for part in sections if part.startswith(section))))


def written_by(command, file):
    subprocess.run([*command, "--json", str(file)], check=False, capture_output=True, timeout=DEADLINE)
    return fields(json.loads(file.read_text(encoding="utf-8")), set())


def main():
    document, stress, serve, probe = sys.argv[1:]
    text = pathlib.Path(document).read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "result.json"
        written = {"chiral-stress": written_by(
            [stress, "--seconds", "1", "--size", "64x48", "--transport", "ws", "--fault", "stopped_reader"], file)}
        robot = subprocess.Popen([serve, "--port", "0", "--size", "64x48", "--depth", "--touch"], stdout=subprocess.PIPE, text=True)
        try:
            uri = robot.stdout.readline().split()[-1]
            written["chiral-probe"] = written_by([probe, uri, "--count", "3", "--want", "32x24,jpeg"], file)
        finally:
            robot.kill()
            robot.communicate()
    wrong = [f"{document}: {program} writes '{field}', which its section does not describe"
             for program, found in written.items() for field in sorted(found - described(text, program))]
    print("\n".join([*wrong, f"{sum(map(len, written.values()))} fields"]))
    return 1 if wrong or any(len(found) < 20 for found in written.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
