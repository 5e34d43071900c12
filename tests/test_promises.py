"""Every sentence of docs/promises.md names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "promises.md").read_text("utf-8")


def sentences() -> list[str]:
    return [" ".join(item.split()) for item in re.findall(r"^- (.*?)(?=^- |^\S|\Z)", PAGE, re.MULTILINE | re.DOTALL)]


def test_every_sentence_names_a_test() -> None:
    assert len(sentences()) > 50
    assert not [sentence for sentence in sentences() if not re.search(r"`tests/\S+\.py::test_\w+`$", sentence)]


def test_every_named_test_exists() -> None:
    tests: dict[str, set[str]] = {}
    for file, name in re.findall(r"`(tests/\S+\.py)::(\w+)`", PAGE):
        if file not in tests:
            tree = ast.parse((ROOT / file).read_text("utf-8"))
            tests[file] = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
        assert name in tests[file], f"{file}::{name}"
