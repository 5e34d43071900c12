"""Errors whose message is all that the user sees: what is wrong, with value and place, and what to do."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from typing import Any

from segrun.names import visible_name

LONGEST_NAME = 300  # characters of a name that a message shows


class SegrunError(Exception):
    """A failure during a command.

    Attributes:
        status: Exit status of the command.
    """

    status = 1


class RequestError(SegrunError):
    """The request itself is wrong: an option, a path or a combination of them."""

    status = 2


class MissingExtraError(RequestError):
    """A library of one of segrun's extras is not installed."""


class DataError(RequestError):
    """The data does not match the request. The message names the file, the value and where it is."""


class UnreadableError(DataError):
    """A file is missing, damaged, or stored in a way that its reader would misread."""


class ResourceError(SegrunError):
    """Memory, disk space or a process is missing. What was saved stays valid and can be continued."""


class Interrupted(BaseException):
    """Ctrl-C or SIGTERM, raised after the state was saved. It is no `Exception`, so that nothing swallows it.

    Attributes:
        status: Exit status of the command.
    """

    status = 130


def suggest(word: str, known: Iterable[str]) -> str:
    """A sentence that names the known words most similar to `word`, or all of them where none is similar."""
    known = sorted(known)
    similar = difflib.get_close_matches(word, known, n=3, cutoff=0.6)
    if similar:
        return f"Did you mean {' or '.join(similar)}?"
    return f"Known: {join_names(known, 24)}." if known else "None are known."


def join_names(names: Iterable[object], limit: int = 5) -> str:
    """`a, b, c and 7 more`: the first names and the number of the others.

    Args:
        names: Anything with a readable `str`.
        limit: Number of names that are written out.
    """
    words = [brief(name) for name in names]
    more = len(words) - limit
    text = ", ".join(words[:limit])
    return f"{text} and {more} more" if more > 0 else text


def brief(name: object) -> str:
    """A name as a message shows it: within a line, and cut where it is very long."""
    text = visible_name(name)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}…"


def import_extra(module: str, extra: str) -> Any:
    """Import a module that one of segrun's extras installs.

    Args:
        module: Dotted name.
        extra: Name of the extra in pyproject.toml.

    Raises:
        MissingExtraError: The module is not installed. The message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        missing_package = (error.name or "").partition(".")[0]
        if missing_package != module.partition(".")[0]:
            raise  # the module is there, but one of its own imports is not
        raise MissingExtraError(f"{module} is not installed: pip install 'segrun[{extra}]'") from error
