# SPDX-License-Identifier: Apache-2.0
"""Every source begins with its licence, and all C++ has the layout of .clang-format.

    layout.py ROOT CLANG_FORMAT
"""
import pathlib
import subprocess
import sys

FOLDERS = ("engine", "server", "stress", "tools", "bench", "tests", "examples", "python", "cmake")
SOURCES = {".cpp", ".hpp", ".py", ".cmake", ".sh", ".rs"}


def main():
    root = pathlib.Path(sys.argv[1])
    files = [path for folder in FOLDERS for path in sorted((root / folder).rglob("*"))
             if (path.suffix in SOURCES or path.name == "CMakeLists.txt")
             and not {"build", "target", ".venv", "vectors"} & set(path.relative_to(root).parts)]
    wrong = [f"{path.relative_to(root)}: no SPDX line" for path in files
             if "SPDX-License-Identifier: Apache-2.0" not in path.read_text(encoding="utf-8")[:200]]
    cpp = [str(path) for path in files if path.suffix in {".cpp", ".hpp"}]
    result = subprocess.run([sys.argv[2], "--style=file", "--dry-run", "-Werror", *cpp], capture_output=True, text=True, check=False)
    print(f"{len(cpp)} C++ files of {len(files)} sources")
    print("\n".join(wrong), "\n".join(line for line in result.stderr.splitlines() if "error:" in line), sep="\n")
    return 1 if wrong or result.returncode or len(cpp) < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
