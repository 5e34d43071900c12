"""Run folders in which one file is altered: a key deleted or of another type, bits flipped, bytes cut off or exchanged.

`altered_run` alters at random; `alterations` lists all that can be done to the keys of a file.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import io
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

import segrun
from segrun.checkpoints.checkpoint import save_tensors
from segrun.errors import Interrupted
from tests.conftest import QUICK, stopped_after

Rng = np.random.Generator
Keys = tuple[Any, ...]  # the way from a file's content to a value
DELETED = object()
VALUES: Mapping[str, Any] = {
    "deleted": DELETED,
    "null": None,
    "text": "x",
    "number": -1.5,
    "list": [[None]],
    "mapping": {"x": {"y": []}},
}
MOST_KEYS = 45  # of a mapping, such as weights by name, beyond which the first, middle and last key stand for all

# the commands that read each file of a run folder; {run} is the folder. A run that has ended lies beside it: other
EVAL, PREDICT = ["eval", "checkpoint={run}"], ["predict", "checkpoint={run}", "input=photos", "output=masks"]
SAME_MODEL = ["backbone=timm", "backbone.name=test_efficientnet", "head=fcn", "head.channels=16"]
INIT_FROM, RESUME = ["plan", "init_from={run}", *SAME_MODEL], ["train", "resume={run}"]
COMPARE = ["compare", "runs=[{run},other]", "draws=100"]
READERS: Mapping[str, Sequence[Sequence[str]]] = {
    "best.ckpt": [EVAL, PREDICT, INIT_FROM],
    "last.ckpt": [RESUME],
    "snapshots/start.pt": [RESUME],
    "metrics.jsonl": [RESUME],
    "result.json": [COMPARE],
    "scores.csv": [COMPARE],
    "config.yaml": [COMPARE],
    "split.json": [COMPARE, ["plan", "split.file={run}/split.json"]],
}


@dataclass(frozen=True)
class Alteration:
    """What was done to a file.

    Attributes:
        file: Relative to the run folder.
        keys: Where in its content; empty for damage to its bytes.
        change: A key of VALUES, or the name of a function in DAMAGES.
    """

    file: str
    keys: Keys
    change: str

    def __str__(self) -> str:
        return f"{self.file}: {'.'.join(map(str, self.keys))} {self.change}"

    def apply(self, folder: Path) -> None:
        """Alter the file in a run folder."""
        content = _read(folder / self.file)
        _write(folder / self.file, _changed(content, self.keys, VALUES[self.change]))


def write_sources(root: Path) -> None:
    """Train the runs that are altered: `whole` has ended, `stopped` has not; and what their commands read besides."""
    words = [
        *(word for word in QUICK if not word.startswith("trainer.batch_size")), "trainer.batch_size=2",
        "strategy=scratch", "backbone=timm", "backbone.name=test_efficientnet", "auxiliary=[boundary]", "balance=dwa",
        "trainer.ema=0.9", "trainer.steps=6", "trainer.epochs=3", f"output={root / 'outputs'}",
    ]  # fmt: skip
    segrun.train(words).folder.rename(root / "whole")
    with stopped_after(4), contextlib.suppress(Interrupted):
        segrun.train(words)
    next((root / "outputs" / "train").glob("*/*")).rename(root / "stopped")
    copy_run(root / "whole", root / "other")
    (root / "photos").mkdir()
    Image.new("RGB", (64, 64)).save(root / "photos" / "a.png")


def altered_run(root: Path, target: Path, seed: int) -> Alteration:
    """Copy a run folder and alter one of its files.

    Args:
        root: What `write_sources` has filled.
        target: The copy, which is replaced.
        seed: Decides what is altered.
    """
    rng = np.random.default_rng(seed)
    file = list(READERS)[rng.integers(len(READERS))]
    source = source_of(root, file)
    copy_run(source, target)
    if rng.random() < 0.2:
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        (target / file).write_bytes(damage(rng, (target / file).read_bytes()))
        return Alteration(file, (), damage.__name__)
    chosen = list(alterations(source, file))
    alteration = chosen[rng.integers(len(chosen))]
    alteration.apply(target)
    return alteration


def source_of(root: Path, file: str) -> Path:
    """The run whose file is altered: one that can be resumed where `train` reads it."""
    return root / ("stopped" if RESUME in READERS[file] else "whole")


def copy_run(source: Path, target: Path) -> None:
    """Replace `target` by a copy of a run folder."""
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(source, target)


def alterations(folder: Path, file: str) -> Iterator[Alteration]:
    """Every change of every key in a file; of a long list, those of its first entry."""
    for keys in _paths(_read(folder / file)):
        for change in VALUES:
            yield Alteration(file, keys, change)


def commands(alteration: Alteration, folder: str) -> list[list[str]]:
    """The commands that read the altered file."""
    return [[word.format(run=folder) for word in words] for words in READERS[alteration.file]]


def _paths(content: Any) -> Iterator[Keys]:
    keys: Sequence[Any] = ()
    if isinstance(content, Mapping):
        keys = list(content)
    elif isinstance(content, list | tuple):
        keys = range(min(1, len(content)))
    if len(keys) > MOST_KEYS:
        keys = [keys[0], keys[len(keys) // 2], keys[-1]]
    for key in keys:
        yield (key,)
        for rest in _paths(content[key]):
            yield (key, *rest)


def _changed(content: Any, keys: Keys, value: Any) -> Any:
    key, *rest = keys
    changed = list(content) if isinstance(content, tuple) else copy.copy(content)
    if rest:
        changed[key] = _changed(content[key], tuple(rest), value)
    elif value is DELETED:
        del changed[key]
    else:
        changed[key] = value
    return changed


def _read(path: Path) -> Any:
    if path.suffix in (".ckpt", ".pt"):
        return torch.load(path, weights_only=True)
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in text.splitlines()]
    if path.suffix == ".csv":
        return list(csv.reader(io.StringIO(text, newline="")))
    return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)


def _write(path: Path, content: Any) -> None:
    if path.suffix in (".ckpt", ".pt"):
        save_tensors(content, path)
    elif path.suffix == ".jsonl":
        path.write_text("".join(f"{json.dumps(row)}\n" for row in content), encoding="utf-8")
    elif path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(row if isinstance(row, list) else [row] for row in content)
    else:
        text = yaml.safe_dump(content) if path.suffix == ".yaml" else json.dumps(content)
        path.write_text(text, encoding="utf-8")


def truncated(rng: Rng, content: bytes) -> bytes:
    return content[: rng.integers(len(content))]


def flipped_bit(rng: Rng, content: bytes) -> bytes:
    changed = bytearray(content)
    changed[rng.integers(len(content))] ^= 1 << rng.integers(8)
    return bytes(changed)


def exchanged_bytes(rng: Rng, content: bytes) -> bytes:
    start = rng.integers(len(content))
    return content[:start] + rng.bytes(20) + content[start + 20 :]


def not_utf8(rng: Rng, content: bytes) -> bytes:
    start = rng.integers(len(content))
    return content[:start] + b"\xff\xfe" + content[start:]


def nested(rng: Rng, content: bytes) -> bytes:
    return b"[" * 50_000


def empty(rng: Rng, content: bytes) -> bytes:
    return b""


DAMAGES: Sequence[Callable[[Rng, bytes], bytes]] = (truncated, flipped_bit, exchanged_bytes, not_utf8, nested, empty)
