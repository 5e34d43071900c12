"""Names that others chose, of files and classes: shown without side effects, and short enough for a file system."""

from __future__ import annotations

import hashlib
import os
import re

NAME_BYTES = 230  # of the 255 that file systems allow; the rest is for temporary names and endings
PATH_BYTES = 3800  # of Linux's 4096; the rest is for what lies in a folder of results

# C0 and C1 control characters (a terminal obeys them), overrides of the writing direction and line separators (they
# change what a line seems to say), and the surrogates that stand for bytes of a file name that is not UTF-8
_CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_IN_TEXT, _IN_NAME = re.compile(f"[{_CONTROLS}]"), re.compile(rf"[{_CONTROLS}\t\n]")


def visible(text: str) -> str:
    r"""The text with control characters written as JSON writes them: ESC becomes \u001b. Tabs and line ends stay."""
    return _IN_TEXT.sub(_escape, text)


def visible_name(name: object) -> str:
    """The same for something that must stay within a line: tabs and line ends are escaped, too."""
    return _IN_NAME.sub(_escape, str(name))


def _escape(match: re.Match[str]) -> str:
    return f"\\u{ord(match[0]):04x}"


def shortened(name: str, limit: int = NAME_BYTES) -> str:
    """The name itself, or where it is too long its beginning and a hash of all of it, with its suffix.

    Args:
        name: The name of a file or folder, without separators.
        limit: The largest number of bytes of the result.
    """
    if len(os.fsencode(name)) <= limit:
        return name
    stem, dot, suffix = name.rpartition(".")
    ending = dot + suffix if stem and len(suffix) <= 8 else ""
    ending = f"-{hashlib.sha256(os.fsencode(name)).hexdigest()[:10]}{ending}"
    beginning = os.fsencode(name)[: limit - len(os.fsencode(ending))]
    return beginning.decode(errors="ignore") + ending
