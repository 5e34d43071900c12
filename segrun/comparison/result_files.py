"""What result.json, config.yaml and split.json of a run hold, as far as it is read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired

import yaml
from pydantic import AfterValidator
from typing_extensions import TypedDict

from segrun.errors import DataError
from segrun.schema import check_content, read_json

RESULT_FILE, CONFIG_FILE, SPLIT_FILE = "result.json", "config.yaml", "split.json"
CURE = "Train the run again, or leave it out."
Options = Mapping[str, Any]


def _square(matrix: Sequence[Sequence[int]]) -> Sequence[Sequence[int]]:
    if any(len(row) != len(matrix) for row in matrix):
        raise ValueError("must have as many columns as rows")
    return matrix


class SplitScores(TypedDict):
    """Scores on a split."""

    miou: float | None
    miou_present: NotRequired[float | None]
    mdice: NotRequired[float | None]
    accuracy: NotRequired[float | None]
    confusion: NotRequired[Annotated[Sequence[Sequence[int]], AfterValidator(_square)]]


class Choosing(TypedDict):
    """What it cost to choose the run's configuration."""

    seconds: float


class Config(TypedDict):
    """A recorded config, as far as runs are compared by it."""

    names: NotRequired[Options]
    asked: NotRequired[Sequence[str]]
    split: NotRequired[Options | None]
    backbone: NotRequired[Options | None]
    regularizer: NotRequired[Options | None]
    auxiliary: NotRequired[Options | None]
    tracker: NotRequired[Options | None]
    term: NotRequired[Options | None]  # as regularizers were called


class Cost(TypedDict):
    """What a training took; older versions recorded less, and the peak of memory is known on Linux only."""

    parameters_trained: int
    seconds: float
    steps: NotRequired[int]
    images_per_second: NotRequired[float]
    checkpoint_bytes: NotRequired[int]
    peak_memory_bytes: NotRequired[int | None]


class Result(TypedDict):
    """result.json of a training."""

    val: SplitScores
    test: NotRequired[SplitScores | None]
    cost: Cost
    images: NotRequired[Mapping[str, int]]
    config: NotRequired[Config]
    choosing: NotRequired[Choosing]


def read_result(folder: Path, cure: str = CURE) -> dict[str, Any]:
    """result.json of a training, or of `segrun eval`, which names a checkpoint.

    Raises:
        DataError: It cannot be read, or a key is missing or has a wrong type. The message names file and key.
    """
    path = folder / RESULT_FILE
    result: dict[str, Any] = read_json(path, Mapping[str, Any], cure)
    if "checkpoint" not in result:
        check_content(result, Result, str(path), cure)
    return result


def read_config(folder: Path) -> dict[str, Any]:
    """config.yaml; empty if there is none.

    Raises:
        DataError: It cannot be read, or a key has a wrong type. The message names file and key.
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        return {}
    try:
        config = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: cannot be read as YAML ({reason}). {CURE}") from error
    check_content(config, Config, str(path), CURE)
    return dict(config)


def count_images(folder: Path, split: str) -> int:
    """The number of images that split.json lists for a split.

    Raises:
        DataError: It cannot be read, or does not list them.
    """
    path = folder / SPLIT_FILE
    splits = read_json(path, Mapping[str, Sequence[str]], CURE)
    if split not in splits:
        raise DataError(f"{path}: {split}: is missing. {CURE}")
    return len(splits[split])
