"""What trackers are told of a run: the same names for the same things in all of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from segrun.events import EpochDone, Event, StepDone
from segrun.report.metrics_file import row


def scalars(event: Event) -> tuple[int, dict[str, float]]:
    """The place of an event on its axis, and its numbers: a step's at the optimizer step, an epoch's at the epoch. An
    epoch's are those of its line in metrics.jsonl, keys joined by slashes: loss, losses/<task or term>,
    weights/<task>, lr/<part>, seconds, images_per_second, val/<score>, val/iou/<class>."""
    if isinstance(event, StepDone):
        return event.step, {"step/loss": event.loss}
    if isinstance(event, EpochDone):
        return event.epoch, numbers({key: value for key, value in row(event).items() if key not in ("epoch", "step")})
    return 0, {}


def results(folder: Path) -> dict[str, float]:
    """What a finished run came to, of its result.json: result/best_epoch, result/val/… and result/test/… with the names
    of an epoch's val/…, result/cost/…, result/drift/<part>."""
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    found = {key: result[key] for key in ("best_epoch", "cost", "drift")}
    for split in ("val", "test"):
        if scores := result[split]:
            ious = {name: each["iou"] for name, each in scores["per_class"].items()}
            found[split] = {**scores, "per_class": None, "iou": ious}
    return numbers({"result": found})


def settings(folder: Path) -> dict[str, Any]:
    """The run's config, keys as they are typed on the command line: trainer.epochs."""
    values = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return {".".join(path): value for path, value in _leaves(values)}


def numbers(values: Mapping[str, Any]) -> dict[str, float]:
    """The numbers among nested values, by path. TensorBoard takes letters, digits, `_`, `-` and `.` only: what else is
    in the name of a class becomes `_`, with one more where two names would be one."""
    found: dict[str, Any] = {}
    for path, value in _leaves(values):
        name = "/".join(re.sub(r"[^\w.-]", "_", key) for key in path)
        while name in found:
            name += "_"
        found[name] = value
    return {name: value for name, value in found.items() if type(value) in (int, float)}


def _leaves(values: Mapping[str, Any], path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value
