# SPDX-License-Identifier: Apache-2.0
"""What the commands show: tables and progress, those of rich where it is installed and a terminal is there."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Sequence
from typing import Any

from ._native import printable

__all__ = ["printable", "progress", "table"]


def table(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table: of rich where it is installed and a terminal is there, in plain columns elsewhere."""
    cells = [[printable(str(cell)) for cell in row] for row in rows]  # much of it is what a server says
    if sys.stdout.isatty():
        try:
            from rich.console import Console
            from rich.table import Table
            from rich.text import Text
        except ImportError:
            pass
        else:
            pretty = Table(*columns, title=title, title_justify="left")
            for row in cells:
                pretty.add_row(*map(Text, row))
            Console().print(pretty)
            return
    widths = [max(len(line[i]) for line in [list(columns), *cells]) for i in range(len(columns))]
    print(title)
    for line in [list(columns), *cells]:
        print("  " + "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip())


def progress(count: int) -> Iterable[int]:
    """So many, or for ever if it is 0; with a bar of rich's where it is installed and a terminal is there."""
    numbers: Iterable[int] = range(count) if count > 0 else itertools.count()
    if not sys.stdout.isatty():
        return numbers
    try:
        from rich.progress import track
    except ImportError:
        return numbers
    return track(numbers, description="asking", total=count or None, transient=True)
