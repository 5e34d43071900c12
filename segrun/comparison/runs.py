"""Run folders on disk: the result of each, and the runs that have not finished."""

from __future__ import annotations

import contextlib
import csv
import glob
import itertools
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from segrun.comparison.iou import Counts
from segrun.comparison.result_files import CONFIG_FILE, CURE, RESULT_FILE, count_images, read_config, read_result
from segrun.config.legacy import translate
from segrun.config.recorded import RecordedConfig
from segrun.csv_tables import parse_table
from segrun.errors import DataError, RequestError

ERROR_FILE = "error.txt"
SCORE_COLUMNS = ["image", "class", "tp", "fp", "fn"]  # of scores.csv


@dataclass(frozen=True)
class EvaluationSet:
    """What runs are scored on: the names of the images, sorted, and of the classes, by index."""

    images: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """A run that was started.

    Attributes:
        folder: The run folder.
        result: Its result.json without the config; empty if the run has not finished.
        settings: What the run is compared by, as strings by config key, see `RecordedConfig.comparable`; empty if the
            run has no config.
        seed: What tells it apart from runs with the same settings, see `RecordedConfig.replicate`.
        error: Why it failed, if it did.
    """

    folder: Path
    result: Mapping[str, Any]
    settings: Mapping[str, str]
    seed: str
    error: str = ""

    @property
    def val_miou(self) -> float:
        """Mean IoU on val, 0 if there is none."""
        miou = self.result["val"].get("miou")
        return 0.0 if miou is None or math.isnan(miou) else float(miou)

    @property
    def cost(self) -> dict[str, float]:
        """The cost of the run. Its seconds include the time in which `segrun choose` chose it."""
        cost = self.result["cost"]
        selection_seconds = self.result.get("choosing", {}).get("seconds", 0)
        return {**cost, "seconds": cost.get("seconds", 0) + selection_seconds}

    @property
    def scored_split(self) -> str:
        """The split that scores.csv is about: test, or val if test was not scored."""
        return "test" if self.result.get("test") else "val"

    def num_images(self, split: str) -> int:
        """The number of images in a split.

        Raises:
            DataError: Neither result.json nor split.json holds it.
        """
        image_counts = self.result.get("images")
        if not image_counts:
            return count_images(self.folder, split)
        if split not in image_counts:
            raise DataError(f"{self.folder / RESULT_FILE}: images.{split}: is missing. {CURE}")
        return int(image_counts[split])

    def read_scores(self) -> tuple[EvaluationSet, Counts]:
        """What the run was scored on, and its counts.

        Returns:
            The test set, and (images, classes, 3) true positives, false positives and false negatives.

        Raises:
            DataError: scores.csv is missing or incomplete.
        """
        path = self.folder / "scores.csv"
        try:
            content = path.read_bytes()
            if not content.endswith(b"\n"):
                raise ValueError("its last line is cut off")
            test_set, counts = _parse_scores(content)
            expected = self.num_images(self.scored_split)
            if len(test_set.images) != expected:
                raise ValueError(f"{len(test_set.images)} of {expected} images")
        except (OSError, ValueError, OverflowError, csv.Error) as error:
            raise DataError(f"{path}: is incomplete ({error}). {CURE}") from error
        order = sorted(range(expected), key=lambda index: test_set.images[index])
        images = tuple(test_set.images[index] for index in order)
        return EvaluationSet(images, test_set.classes), counts[order]


def _parse_scores(content: bytes) -> tuple[EvaluationSet, Counts]:
    """The test set in the order of the file, and its counts. `content` holds one line per image and class."""
    header, *rows = parse_table(content)
    if header != SCORE_COLUMNS:
        raise ValueError(f"its columns must be {', '.join(SCORE_COLUMNS)}")
    image_column, class_column, *count_columns = zip(*rows, strict=True)
    images, classes = tuple(dict.fromkeys(image_column)), tuple(dict.fromkeys(class_column))
    if [*zip(image_column, class_column, strict=True)] != [*itertools.product(images, classes)]:
        raise ValueError("each image must have a line per class, in the same order")
    counts = np.array([[int(value) for value in column] for column in count_columns], np.int64)
    if (counts < 0).any():
        raise ValueError("counts of pixels are not negative")
    return EvaluationSet(images, classes), counts.T.reshape(len(images), len(classes), 3)


def find_runs(patterns: Sequence[str]) -> list[Run]:
    """The runs in folders and globs, each run once.

    Raises:
        RequestError: A pattern matches no run.
    """
    runs: dict[Path, Run] = {}
    for pattern in patterns:
        path = str(Path(pattern).expanduser())
        roots = [path] if Path(path).exists() else sorted(glob.glob(path, recursive=True))  # noqa: PTH207
        folders = {folder.resolve(): folder for root in roots for folder in _run_folders(Path(root))}
        new = {resolved: read_run(folder) for resolved, folder in folders.items() if resolved not in runs}
        new = {resolved: run for resolved, run in new.items() if "checkpoint" not in run.result}  # of segrun eval
        if not new and folders.keys().isdisjoint(runs):
            raise RequestError(
                f"runs={pattern}: no run found. Give a run folder, a folder of runs, or a glob (runs=…). Or start with "
                "a sweep: segrun train -m strategy=scratch,finetune seed=0,1"
            )
        runs |= new
    return list(runs.values())


def read_run(folder: Path) -> Run:
    """Read a run folder, also one that an older version wrote. What cannot be read counts as missing."""
    result: dict[str, Any] = {}
    config: Mapping[str, Any] = {}
    error = ""
    try:
        if (folder / RESULT_FILE).is_file():
            result = read_result(folder)
        elif (folder / ERROR_FILE).is_file():
            error = (folder / ERROR_FILE).read_text(encoding="utf-8", errors="replace").strip()
        config = result.pop("config", None) or read_config(folder)
    except DataError as reason:
        result, error = {}, str(reason)
        with contextlib.suppress(DataError):  # the config still tells which run is missing
            config = config or read_config(folder)
    recorded = RecordedConfig(translate(config))
    return Run(folder, result, recorded.comparable(), recorded.replicate(), error)


def _run_folders(root: Path) -> Iterator[Path]:
    """The run folders below `root`, in the order of their names. A run folder holds no other run folders."""
    for path, folders, files in os.walk(root):
        if not {RESULT_FILE, CONFIG_FILE, ERROR_FILE}.isdisjoint(files):
            folders.clear()
            yield Path(path)
        folders.sort()
