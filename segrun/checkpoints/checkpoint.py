"""Checkpoints: self-contained, written whole, read without running anything.

`best.ckpt` is what the user keeps; `last.ckpt` holds the same keys and the training's state besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from segrun.errors import RequestError
from segrun.files import atomic_write
from segrun.types import ClassMap

VERSION = 1


@dataclass
class Progress:
    """Where a training stands. epoch, step: done so far; loss, losses, seconds, images: of the epoch under way."""

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int = 0
    misses: int = 0  # looks at val since the best one, counted in the last phase
    loss: float = 0.0
    losses: dict[str, float] = field(default_factory=dict)  # of each task, unweighted, and each term
    seconds: float = 0.0
    images: int = 0
    total_seconds: float = 0.0
    ended: bool = False


@dataclass(frozen=True)
class Checkpoint:
    """weights: of the model; config: the resolved config that made it; training: state to go on from; base: the hash of
    the pretrained weights, where `weights` holds only what has changed since (`trainer.save=delta`)."""

    weights: Mapping[str, Tensor]
    config: Mapping[str, Any]
    classes: ClassMap
    splits: Mapping[str, Sequence[str]]
    epoch: int
    score: float | None = None
    training: Mapping[str, Any] | None = field(default=None, repr=False)
    base: str | None = None


def write(path: Path, checkpoint: Checkpoint) -> None:
    content = {
        "segrun": VERSION,
        "weights": dict(checkpoint.weights),
        "config": dict(checkpoint.config),
        "classes": asdict(checkpoint.classes),
        "splits": {key: list(names) for key, names in checkpoint.splits.items()},
        "epoch": checkpoint.epoch,
        "score": checkpoint.score,
        "training": checkpoint.training,
        "base": checkpoint.base,
    }
    with atomic_write(path) as part:
        torch.save(content, part)


def read(path: str | Path, name: str = "best.ckpt") -> Checkpoint:
    """From a file, or from the file `name` in a run folder.

    Raises:
        RequestError: missing, truncated, no segrun checkpoint, of a newer version, or with pickled code.
    """
    path = Path(path).expanduser()
    path = path / name if path.is_dir() else path
    if not path.is_file():
        raise RequestError(f"{path}: there is no such checkpoint.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle raise what they will: IndexError, KeyError, …
        why = (
            "it holds pickled code"
            if "GLOBAL" in str(error) or "Unsupported" in str(error)
            else "truncated or no checkpoint"
        )
        raise RequestError(f"{path}: cannot be read as a checkpoint ({why}).") from error
    if not isinstance(content, dict) or "segrun" not in content:
        raise RequestError(f"{path}: is no segrun checkpoint. Bare weights are given by backbone.weights=<path>.")
    if content["segrun"] > VERSION:
        raise RequestError(f"{path}: was written by a newer segrun (format {content['segrun']}). Update segrun.")
    classes = content["classes"]
    return Checkpoint(
        weights=content["weights"],
        config=content["config"],
        classes=ClassMap(tuple(classes["names"]), tuple((c[0], c[1], c[2]) for c in classes["palette"])),
        splits=content["splits"],
        epoch=content["epoch"],
        score=content["score"],
        training=content["training"],
        base=content.get("base"),
    )
