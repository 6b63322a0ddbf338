# SPDX-License-Identifier: Apache-2.0
"""The C++ in documents compiles: what stands in ```cpp blocks, with what readers are spared around it.

    code_compiles.py OUTPUT.cpp DOCUMENT... -- COMPILER ARGUMENT...

What a block needs around it stands in comments that readers do not see, right before and right after it:

    <!-- before:
    void example() {
    -->
    ```cpp
    ...
    ```
    <!-- after: } -->

All blocks become one program, each in a namespace of its own; errors name the document and the line.
"""
import pathlib
import re
import subprocess
import sys

BLOCK = re.compile(r"(?:<!-- before:\n(?P<before>(?:(?!-->).)*?)-->\n\s*)?^(?P<indent> *)```cpp\n(?P<code>.*?)^ *```"
                   r"(?:\n\s*<!-- after: (?P<after>[^\n]*) -->)?", re.DOTALL | re.MULTILINE)
INCLUDES = ["<chiral/client.hpp>", "<chiral/server.hpp>", "<cstdio>", "<span>", "<string>", "<vector>"]


def blocks_of(document: pathlib.Path):
    text = document.read_text(encoding="utf-8")
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start("code")) + 1
        yield line, match["before"] or "", match["code"], match["after"] or ""
    if text.count("```cpp") != len(list(BLOCK.finditer(text))):
        raise SystemExit(f"{document}: not every ```cpp block was understood")


def program(documents) -> tuple[str, int]:
    includes, body, count = list(INCLUDES), [], 0
    for document in documents:
        for line, before, code, after in blocks_of(document):
            count += 1
            include = re.compile(r"^\s*#include\s+(\S+)[^\n]*$", re.MULTILINE)
            includes += include.findall(before) + include.findall(code)
            body += [f"namespace block_{count} {{", f'#line {line - before.count(chr(10)) - 2} "{document}"', include.sub("", before),
                     f'#line {line} "{document}"', include.sub("", code), after, "}"]
    first = [f"#include {name}" for name in dict.fromkeys(includes)]
    return "\n".join([*first, *body, ""]), count


def main() -> int:
    split = sys.argv.index("--")
    output, *documents = map(pathlib.Path, sys.argv[1:split])
    text, count = program(documents)
    output.write_text(text, encoding="utf-8")
    print(f"{count} blocks")
    return subprocess.run([*sys.argv[split + 1:], "-fsyntax-only", str(output)], check=False).returncode or count == 0


if __name__ == "__main__":
    sys.exit(main())
