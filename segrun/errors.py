"""What the user is told when something is wrong: one or two lines, with the cure."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any


class SegrunError(Exception):
    """A failure on the way. The message is all that the user sees; exit status 1."""

    status = 1


class RequestError(SegrunError):
    """The request itself is wrong (an option, a path, a combination); exit status 2."""

    status = 2


class MissingExtraError(RequestError):
    """A library of one of the extras is not installed."""


class DataError(RequestError):
    """The data is not what the request says it is: a file, its value and its place are named."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, after saving; exit status 130. No Exception: nothing may swallow it."""

    status = 130


def suggest(word: str, known: Iterable[str]) -> str:
    """A sentence naming the known words nearest to `word`, or all of them where none is near."""
    known = sorted(known)
    near = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known: {join_names(known, 24)}." if known else "It has none yet."


def join_names(items: Iterable[object], most: int = 5) -> str:
    """`a, b, c and 7 more`: enough to find the place, never a screenful."""
    words = [str(item) for item in items]
    rest = len(words) - most
    return ", ".join(words[:most]) + (f" and {rest} more" if rest > 0 else "")


def import_extra(module: str, extra: str) -> Any:
    """A module that one of segrun's extras brings.

    Raises:
        MissingExtraError: it is not installed; the line that installs it is named.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        raise MissingExtraError(f"{module} is not installed: pip install 'segrun[{extra}]'") from error
