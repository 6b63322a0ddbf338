# SPDX-License-Identifier: Apache-2.0
"""Documents name tests and models as proof: each name must match one that ctest knows.

    named_tests_exist.py CTEST BUILD_DIRECTORY DOCUMENT...

A name is what stands between backquotes and looks like `Suite.Test` or `model_family.*`; a * matches anything.
"""

import fnmatch
import json
import pathlib
import re
import subprocess
import sys

NAME = re.compile(r"`([A-Z][A-Za-z]+\*?\.[A-Za-z*]+)`|models? ((?:`[a-z_]+(?:\.[a-z_*]+)?`(?:, | and )?)+)")


def known_tests(ctest: str, build: str) -> tuple[set[str], set[str]]:
    listing = json.loads(subprocess.run([ctest, "--test-dir", build, "--show-only=json-v1"], check=True,
                                        capture_output=True, text=True).stdout)
    tests, models = set(), set()
    for test in listing["tests"]:
        name = test["name"]
        if name.startswith("model."):
            models.add(name.removeprefix("model."))
            continue
        # program.Instantiation/Suite.Test/parameter
        parts = re.sub(r"^[a-z_]+\.", "", name).split("/")
        tests.add(next((part for part in parts if "." in part), parts[0]))
    return tests, models


def names_in(text: str) -> list[tuple[str, bool]]:
    found = []
    for match in NAME.finditer(text):
        if match[1]:
            found.append((match[1], False))
        else:
            found += [(name, True) for name in re.findall(r"`([^`]+)`", match[2])]
    return found


def main() -> int:
    ctest, build, *documents = sys.argv[1:]
    tests, models = known_tests(ctest, build)
    wrong, checked = [], 0
    for document in documents:
        for name, is_model in names_in(pathlib.Path(document).read_text()):
            checked += 1
            if not fnmatch.filter(models if is_model else tests, name):
                wrong.append(f"{document}: there is no {'model' if is_model else 'test'} {name}")
    print(f"{checked} names of tests and models in {len(documents)} documents")
    print("\n".join(wrong))
    if checked == 0:
        print("no name was found: the pattern in this script no longer fits the documents")
    return 1 if wrong or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
