"""Run folders as they lie on disk: what came out of each, and which have not come to an end."""

from __future__ import annotations

import csv
import glob
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from segrun.comparison.bootstrap import Counts
from segrun.config.keys import INCIDENTAL, identity
from segrun.errors import DataError, RequestError

SEVERAL = ("regularizer", "auxiliary")  # groups of which a config may name several options
SILENT = ("hydra", "rules", "search", "tracker", "experiment")  # cannot change the outcome, or just by other keys
COPIES = ("seed", "split.seed", "split.fold", "dataset.root")  # in which copies of one experiment differ
FITTED = "dataset.intensity."  # measured on the training images, so a copy has its own; what was asked for counts
NONE = "none"  # a setting that a run does not have
RESULT, CONFIG, ERROR = "result.json", "config.yaml", "error.txt"
Test = tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True)
class Run:
    """A run that was begun. result: its result.json without the config, empty where it has not come to an end;
    settings: see `settings`; seed: what tells it from runs of the same settings; error: why, where it failed."""

    folder: Path
    result: Mapping[str, Any]
    settings: Mapping[str, str]
    seed: str
    error: str = ""

    @property
    def val(self) -> float:
        """mIoU on val; 0 where it has none."""
        score = self.result["val"].get("miou")
        return float(score) if score is not None and score == score else 0.0

    @property
    def cost(self) -> dict[str, float]:
        """Its own, and of `segrun choose` the time that choosing it has taken."""
        own = self.result["cost"]
        return {**own, "seconds": own.get("seconds", 0) + self.result.get("choosing", {}).get("seconds", 0)}

    @property
    def split(self) -> str:
        """What its scores.csv is of: test, or val where test was not scored."""
        return "test" if self.result.get("test") else "val"

    def count(self, split: str) -> int:
        """How many images were in a split.

        Raises:
            DataError: nothing tells it.
        """
        if counted := self.result.get("images"):
            return int(counted[split])
        path = self.folder / "split.json"
        try:
            return len(json.loads(path.read_bytes())[split])
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path}: does not tell the images of {split} ({error}). Leave the run out.") from error

    def scores(self) -> tuple[Test, Counts]:
        """The images, sorted, and classes it was scored on, and (images, classes, 3) counts: tp, fp, fn.

        Raises:
            DataError: its scores.csv is not whole.
        """
        path = self.folder / "scores.csv"
        try:
            text = path.read_bytes().decode()
            if not text.endswith("\n"):
                raise ValueError("its last line is cut")
            _, *table = csv.reader(io.StringIO(text, newline=""))
            places, labels, *counted = zip(*table, strict=True)
            images, classes = tuple(dict.fromkeys(places)), tuple(dict.fromkeys(labels))
            counts = np.array([list(map(int, column)) for column in counted[:3]], np.int64)
            counts = counts.T.reshape(len(images), len(classes), 3)
            if len(images) != (every := self.count(self.split)):
                raise ValueError(f"{len(images)} of {every} images")
        except (OSError, ValueError, csv.Error) as error:
            raise DataError(f"{path}: is not whole ({error}). Train the run anew, or leave it out.") from error
        order = sorted(range(len(images)), key=lambda place: images[place])
        return (tuple(images[place] for place in order), classes), counts[order]


def settings(values: Mapping[str, Any]) -> dict[str, str]:
    """What a config asked for, by key: options' names (`strategy`, `backbone`), `labels`, and every single value that
    can change the outcome (`optimizer.lr`); nothing of what is no run's config."""
    if "names" not in values:
        return {}
    flat = identity({key: value for key, value in values.items() if key not in INCIDENTAL})
    every = {key: value for key, value in flat.items() if key not in COPIES and not key.startswith(FITTED)}
    for word in values.get("asked", ()):
        key, _, value = word.lstrip("+").partition("=")
        if key.startswith(FITTED):
            every[key] = value
    every |= {group: name for group, name in values["names"].items() if group not in SILENT}
    every |= {group: "+".join(values[group]) for group in SEVERAL if values.get(group)}
    # thousands of runs say the same words
    return {sys.intern(key): sys.intern(NONE if value is None else str(value)) for key, value in every.items()}


def copy_of(values: Mapping[str, Any]) -> str:
    """What tells a run from others of the same settings: its seed, and how its splits were drawn."""
    split = values.get("split") or {}
    drawn = f", split {split['seed']}" if split.get("seed") else ""
    fold = f", fold {split['fold']}" if split.get("folds") else ""
    return f"{values.get('seed')}{drawn}{fold}"


def found(patterns: Sequence[str]) -> list[Run]:
    """The runs in folders and globs, each once.

    Raises:
        RequestError: a pattern without any run.
    """
    runs: dict[Path, Run] = {}
    for pattern in patterns:
        name = Path(pattern).expanduser()
        places = [str(name)] if name.exists() else sorted(glob.glob(str(name), recursive=True))  # noqa: PTH207
        there = {folder.resolve(): folder for place in places for folder in _folders(Path(place))}
        new = {place: read(folder) for place, folder in there.items() if place not in runs}
        new = {place: run for place, run in new.items() if "checkpoint" not in run.result}  # of segrun eval
        if not new and not there.keys() & runs.keys():
            raise RequestError(
                f"runs={pattern}: no run there. Give a run's folder, a folder of runs, or a glob: runs=…; or begin "
                "with a sweep: segrun train -m strategy=scratch,finetune seed=0,1"
            )
        runs |= new
    return list(runs.values())


def read(folder: Path) -> Run:
    """A run's folder. A result.json that is not whole counts for none; one of an older version has no config."""
    result: Any = {}
    error = (folder / ERROR).read_text(encoding="utf-8").strip() if (folder / ERROR).is_file() else ""
    if (path := folder / RESULT).is_file():
        error = ""
        try:
            result = json.loads(path.read_bytes())
            if not isinstance(result, dict) or not (
                "checkpoint" in result or all(isinstance(result.get(key), dict) for key in ("val", "cost"))
            ):
                raise ValueError("val or cost is missing")
        except ValueError as wrong:
            result, error = {}, f"{path.name} is not whole ({wrong})"
    values = result.pop("config", None) or _loaded(folder / CONFIG)
    return Run(folder, result, settings(values), copy_of(values), error)


def _folders(place: Path) -> Iterator[Path]:
    """The folders of runs in a folder, in the order of their names; a run holds no others."""
    for path, folders, files in os.walk(place):
        if not {RESULT, CONFIG, ERROR}.isdisjoint(files):
            folders.clear()
            yield Path(path)
        folders.sort()


def _loaded(path: Path) -> Mapping[str, Any]:
    try:
        values = yaml.load(path.read_bytes(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, yaml.YAMLError):
        return {}
    return values if isinstance(values, Mapping) else {}
