"""Checkpoint files: self-contained, written atomically, and read without running code.

`best.ckpt` is what a user keeps. `last.ckpt` holds the same keys and the training state besides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

import torch
from annotated_types import Len
from torch import Tensor
from typing_extensions import TypedDict

from segrun.checksum import add_checksum, is_intact
from segrun.errors import DataError, RequestError
from segrun.files import atomic_write
from segrun.schema import check_content, errors_name
from segrun.types import ClassMap

VERSION = 1  # of the file format
CURE = "Use another checkpoint, or train again."
Options = Mapping[str, Any]


class _Dataset(TypedDict):
    _target_: str


class _Trainer(TypedDict):
    channels_last: Literal[True, False, "auto"]


class _Config(TypedDict):
    """What every reader of a checkpoint asks its config for. Further keys are checked where objects are built."""

    backbone: Options
    head: Options
    dataset: _Dataset
    trainer: _Trainer
    sizing: Options
    strategy: NotRequired[Options | None]
    auxiliary: NotRequired[Mapping[str, Options] | None]
    regularizer: NotRequired[Mapping[str, Options] | None]
    tracker: NotRequired[Mapping[str, Options] | None]
    init_from: NotRequired[str | None]
    names: NotRequired[Mapping[str, str | None]]
    asked: NotRequired[Sequence[str]]


class _Classes(TypedDict):
    names: Sequence[str]
    palette: Sequence[Annotated[Sequence[int], Len(3, 3)]]


class _Weights(TypedDict):
    mean: Tensor  # of the normalisation: its length is the number of image channels


class _Content(TypedDict):
    """The file."""

    weights: Mapping[str, Tensor]
    config: _Config
    classes: _Classes
    splits: Mapping[str, Sequence[str]]
    epoch: int
    score: float | None
    training: Options | None
    base: NotRequired[str | None]
    base_name: NotRequired[str | None]


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
        base_name: What these weights are, in words; older delta checkpoints have no name.
        path: The file that it was read from.
    """

    weights: Mapping[str, Tensor]
    config: Mapping[str, Any]
    classes: ClassMap
    splits: Mapping[str, Sequence[str]]
    epoch: int
    score: float | None = None
    training: Mapping[str, Any] | None = field(default=None, repr=False)
    base: str | None = None
    base_name: str | None = None
    path: Path | None = field(default=None, compare=False)

    def errors_name_it(self) -> AbstractContextManager[None]:
        """Inside, where objects are built from the config, messages of errors begin with the file's path."""
        return errors_name(self.path)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint file atomically, with a checksum."""
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
        "base_name": checkpoint.base_name,
    }
    with atomic_write(path, tensor_bytes(content)) as temporary:
        save_tensors(content, temporary)


def read(path: str | Path, name: str = "best.ckpt") -> Checkpoint:
    """Read a checkpoint.

    Args:
        path: The file, or a run folder.
        name: The file to read in a run folder.

    Raises:
        RequestError: The file is missing, damaged, no segrun checkpoint, written by a newer version, or holds pickled
            code.
        DataError: A key is missing or has a wrong type, or the training has diverged.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / name
    if not path.is_file():
        raise RequestError(f"{path}: there is no such checkpoint.")
    content = load_tensors(path)
    if not isinstance(content, dict) or "segrun" not in content:
        raise RequestError(f"{path}: is no segrun checkpoint. For bare weights, use backbone.weights=<path>.")
    check_content(content["segrun"], int, f"{path}: segrun", CURE)
    if content["segrun"] > VERSION:
        raise RequestError(f"{path}: was written by a newer segrun (format {content['segrun']}). Update segrun.")
    check_content(content, _Content, str(path), CURE)
    check_content(content["weights"], _Weights, f"{path}: weights", CURE)
    _check_finite(content["weights"], path)
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
        base_name=content.get("base_name"),
        path=path,
    )


def tensor_bytes(content: Any) -> int:
    """The bytes of all tensors in nested mappings: about what a file takes that holds them."""
    if isinstance(content, Mapping):
        return sum(map(tensor_bytes, content.values()))
    return content.nbytes if isinstance(content, Tensor) else 0


def save_tensors(content: Any, path: Path) -> None:
    """`torch.save`, with a checksum of the file."""
    torch.save(content, path)
    add_checksum(path)


def load_tensors(path: Path) -> Any:
    """What `save_tensors` or `torch.save` wrote.

    Raises:
        RequestError: The file is damaged, holds pickled code, or is of another format.
    """
    if not is_intact(path):
        raise RequestError(f"{path}: is damaged or truncated (its checksum does not match). {CURE}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle raise anything: IndexError, KeyError and others
        has_code = "GLOBAL" in str(error) or "Unsupported" in str(error)
        reason = "it holds pickled code" if has_code else "truncated or no checkpoint"
        raise RequestError(f"{path}: cannot be read as a checkpoint ({reason}).") from error


def _check_finite(weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse the weights of a training that has diverged."""
    for name, value in weights.items():
        # the sum is the faster test, but finite numbers can have an infinite sum
        if value.is_floating_point() and not value.sum().isfinite() and not value.isfinite().all():
            raise DataError(
                f"{path}: the training diverged: the tensor {name} is not finite. Start a new run with a lower "
                "optimizer.lr."
            )
