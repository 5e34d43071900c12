"""Names that others chose: what is shown of them, and what becomes of long ones."""

from __future__ import annotations

import json
import os

import pytest

from segrun.errors import join_names
from segrun.names import shortened, visible, visible_name


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred", r"\u001b[31mred"),
        ("over\rwritten\x07\x08", r"over\u000dwritten\u0007\u0008"),
        ("\x9b2J\x7f", r"\u009b2J\u007f"),
        ("\u202egnp.exe\u2066\u2069", r"\u202egnp.exe\u2066\u2069"),
        (os.fsdecode(b"not\xffutf8"), r"not\udcffutf8"),
        ("Übung 写真 \t two\nlines ±", "Übung 写真 \t two\nlines ±"),
    ],
)
def test_control_characters_are_written_as_json_writes_them(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert json.loads(visible(json.dumps(text, ensure_ascii=False))) == text


def test_a_name_cannot_begin_a_line_of_its_own() -> None:
    assert visible_name("a\nsegrun: all is well\t") == r"a\u000asegrun: all is well\u0009"
    assert join_names(["a\nb", "c"]) == r"a\u000ab, c"


def test_only_names_that_are_too_long_are_shortened() -> None:
    assert shortened("ü" * 115) == "ü" * 115  # 230 bytes
    long, other = "ü" * 130 + ".png", "ü" * 131 + ".png"
    assert shortened(long) == "ü" * 107 + "-551ce77f50.png"
    assert len(shortened(long).encode()) <= 230
    assert shortened(long) != shortened(other)
    assert shortened("a.b" * 90).startswith("a.ba.b") and "-" in shortened("a.b" * 90)
