"""The numbers that trackers receive, under the same names in all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from segrun.events import EpochDone, Event, StepDone
from segrun.names import shortened
from segrun.report.metrics_file import epoch_row

KEY_BYTES = 240  # MLflow accepts 250 characters


def event_scalars(event: Event) -> tuple[int, dict[str, float]]:
    """The numbers of an event, and their position on the axis.

    The names of an epoch are those of its line in metrics.jsonl, with keys joined by slashes: loss,
    losses/<task or regularizer>, weights/<task>, lr/<part>, seconds, images_per_second, val/<score>, val/iou/<class>.

    Returns:
        The optimizer step and the loss of a step, or the epoch and the numbers of an epoch; nothing for other events.
    """
    if isinstance(event, StepDone):
        return event.step, {"step/loss": event.loss}
    if isinstance(event, EpochDone):
        row = {key: value for key, value in epoch_row(event).items() if key not in ("epoch", "step")}
        return event.epoch, flat_scalars(row)
    return 0, {}


def result_scalars(folder: Path) -> dict[str, float]:
    """The result of a finished run: result/best_epoch, result/cost/…, result/drift/<part>, and its scores.

    The scores are named like those of an epoch: result/val/<score>, result/test/iou/<class>.

    Args:
        folder: The run folder, which holds result.json.
    """
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    tree: dict[str, Any] = {key: result[key] for key in ("best_epoch", "cost", "drift")}
    for split in ("val", "test"):
        scores = result[split]
        if scores:
            ious = {name: class_scores["iou"] for name, class_scores in scores["per_class"].items()}
            tree[split] = {**scores, "per_class": None, "iou": ious}
    return flat_scalars({"result": tree})


def read_config(folder: Path) -> dict[str, Any]:
    """The config of a run, nested as in its config.yaml."""
    return yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def flat_config(folder: Path) -> dict[str, Any]:
    """The config of a run, by the keys of the command line (trainer.epochs)."""
    return {shortened(".".join(path), KEY_BYTES): value for path, value in _leaves(read_config(folder))}


def flat_scalars(tree: Mapping[str, Any]) -> dict[str, float]:
    """The numbers in nested mappings, by keys joined with slashes.

    TensorBoard accepts only letters, digits, `_`, `-` and `.` in names. Other characters, as in class names, become
    `_`; if two names become equal, `_` is appended to the second one.
    """
    values: dict[str, Any] = {}
    for path, value in _leaves(tree):
        name = shortened("/".join(re.sub(r"[^\w.-]", "_", key) for key in path), KEY_BYTES)
        while name in values:
            name += "_"
        values[name] = value
    return {name: value for name, value in values.items() if type(value) in (int, float)}


def _leaves(tree: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """(path, value) of each value that is no mapping."""
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value
