"""The terminal: lines, tables and progress bars. What they show is text, never commands to the terminal."""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.text import Text

from segrun.names import visible

WIDTH_WITHOUT_TERMINAL = 110


class PlainConsole(Console):
    """A console that shows every string as it is: no markup, no emoji, and control characters escaped.

    rich turns each string, also those of tables, into styled text by `render_str`.
    """

    def __init__(self, stream: Any, width: int | None) -> None:
        super().__init__(file=stream, width=width, markup=False, emoji=False)

    def render_str(self, text: str, **options: Any) -> Text:  # type: ignore[override]
        """The text of a string."""
        return super().render_str(visible(text), **options)


@functools.cache
def _console(stream: Any) -> Console:
    return PlainConsole(stream, None if stream.isatty() else WIDTH_WITHOUT_TERMINAL)


def console() -> Console:
    """The console of the current sys.stdout."""
    return _console(sys.stdout)


def print_line(line: str, style: str | None = None) -> None:
    """Print a line as it is, without line breaks."""
    console().print(line, style=style, highlight=False, soft_wrap=True)


@contextlib.contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """A progress bar over `total` steps, on a terminal only.

    Yields:
        A function that advances the bar by a number of steps.
    """
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True, disable=not sys.stdout.isatty()) as bar:
        task = bar.add_task(visible(description), total=total)
        yield lambda steps: bar.advance(task, steps)
