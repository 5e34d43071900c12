"""Checkpoint files: self-contained, written atomically, and read without running code.

`best.ckpt` is what a user keeps. `last.ckpt` holds the same keys and the training state besides.
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

VERSION = 1  # of the file format


@dataclass(frozen=True)
class Checkpoint:
    """The contents of a checkpoint file.

    Attributes:
        weights: The model's weights by name; where `base` is given, only those that differ from the pretrained ones.
        config: The resolved config of the run.
        classes: Names and colours of the classes.
        splits: Image names by split.
        epoch: Number of epochs that were trained.
        score: The monitored score on val.
        training: The training state, for `resume`; only in last.ckpt.
        base: Hash of the pretrained weights (see `delta.base_hash`), where `trainer.save=delta`.
    """

    weights: Mapping[str, Tensor]
    config: Mapping[str, Any]
    classes: ClassMap
    splits: Mapping[str, Sequence[str]]
    epoch: int
    score: float | None = None
    training: Mapping[str, Any] | None = field(default=None, repr=False)
    base: str | None = None


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint file atomically."""
    content = {
        "segrun": VERSION,
        "weights": dict(checkpoint.weights),
        "config": dict(checkpoint.config),
        "classes": asdict(checkpoint.classes),
        "splits": {split: list(names) for split, names in checkpoint.splits.items()},
        "epoch": checkpoint.epoch,
        "score": checkpoint.score,
        "training": checkpoint.training,
        "base": checkpoint.base,
    }
    with atomic_write(path) as temporary:
        torch.save(content, temporary)


def read(path: str | Path, name: str = "best.ckpt") -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: The file, or a run folder.
        name: The file to read in a run folder.

    Raises:
        RequestError: The file is missing, truncated, no segrun checkpoint, written by a newer version, or holds pickled
            code.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / name
    if not path.is_file():
        raise RequestError(f"{path}: there is no such checkpoint.")
    content = _load(path)
    if not isinstance(content, dict) or "segrun" not in content:
        raise RequestError(f"{path}: is no segrun checkpoint. For bare weights, use backbone.weights=<path>.")
    if content["segrun"] > VERSION:
        raise RequestError(f"{path}: was written by a newer segrun (format {content['segrun']}). Update segrun.")
    palette = tuple((red, green, blue) for red, green, blue in content["classes"]["palette"])
    return Checkpoint(
        weights=content["weights"],
        config=content["config"],
        classes=ClassMap(tuple(content["classes"]["names"]), palette),
        splits=content["splits"],
        epoch=content["epoch"],
        score=content["score"],
        training=content["training"],
        base=content.get("base"),
    )


def _load(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle raise anything: IndexError, KeyError and others
        has_code = "GLOBAL" in str(error) or "Unsupported" in str(error)
        reason = "it holds pickled code" if has_code else "truncated or no checkpoint"
        raise RequestError(f"{path}: cannot be read as a checkpoint ({reason}).") from error
