"""Settings are read from a config in `segrun.config` and `segrun.experiment` alone."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import segrun
from segrun.config.options import groups
from segrun.config.recorded import RecordedConfig

ROOT = Path(segrun.__file__).parent
# names under which a config would travel, and the keys that would be read from it
CONFIGS = {"config", "cfg", "values", "conf", "settings", "options"}
KEYS = {*groups(), "trainer", "split", "seed", "labels", "init_from", "resume", "names", "asked", "test", "output"}
READERS = ("config", "experiment")
FILES = [
    path
    for path in sorted(ROOT.rglob("*.py"))
    if path.relative_to(ROOT).parts[0] not in READERS
]  # fmt: skip


def config_reads(tree: ast.AST) -> Iterator[str]:
    """`config["key"]` and `config.get("key")` of a name that holds a config."""
    for node in ast.walk(tree):
        key: ast.expr | None = None
        holder: ast.expr | None = None
        if isinstance(node, ast.Subscript):
            holder, key = node.value, node.slice
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr == "get"
            and node.args
        ):
            holder, key = node.func.value, node.args[0]
        name = holder.attr if isinstance(holder, ast.Attribute) else getattr(holder, "id", "")
        if name in CONFIGS and isinstance(key, ast.Constant) and key.value in KEYS:
            yield f"line {key.lineno}: {ast.unparse(node)}"


@pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])
def test_no_settings_are_read_from_a_config_elsewhere(path: Path) -> None:
    assert not list(config_reads(ast.parse(path.read_text(encoding="utf-8"))))


def test_such_a_read_would_be_found() -> None:
    assert list(config_reads(ast.parse("lr = self.config['optimizer']['lr']")))
    assert list(config_reads(ast.parse("lr = values.get('optimizer')")))


def test_a_recorded_config_gives_no_settings() -> None:
    assert not hasattr(RecordedConfig, "__getitem__") and not hasattr(RecordedConfig, "get")
    inside = [path for path in FILES if "._values" in path.read_text(encoding="utf-8")]
    assert not inside
