"""The terminal: lines, tables and progress bars."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

WIDTH_WITHOUT_TERMINAL = 110


@functools.cache
def _console(stream: Any) -> Console:
    return Console(file=stream, width=None if stream.isatty() else WIDTH_WITHOUT_TERMINAL)


def console() -> Console:
    """The console of the current sys.stdout."""
    return _console(sys.stdout)


def print_line(line: str, style: str | None = None) -> None:
    """Print a line as it is: without line breaks, and without reading markup into paths and names."""
    console().print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over `total` steps, on a terminal only.

    Yields:
        A function that advances the bar by a number of steps.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task(description, total=total)
        yield lambda steps: bar.advance(task, steps)
