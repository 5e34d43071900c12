"""metrics.jsonl: one JSON object per epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NotRequired

from typing_extensions import TypedDict

from segrun.errors import DataError
from segrun.events import EpochDone, Event
from segrun.files import write_text
from segrun.schema import parse_json

FILE = "metrics.jsonl"
VAL_SCORES = ("miou", "miou_present", "mdice", "accuracy")


class ValScores(TypedDict):
    """Scores of an epoch on val."""

    miou: float | None
    loss: float | None


class EpochRow(TypedDict):
    """What is read of a line again."""

    epoch: int
    step: int
    loss: float
    phase: NotRequired[str]
    losses: NotRequired[Mapping[str, float]]
    weights: NotRequired[Mapping[str, float]]
    val: NotRequired[ValScores]


def read_epochs(path: Path) -> list[EpochRow]:
    """The lines of a metrics.jsonl; none where there is no file.

    Raises:
        DataError: A line cannot be read, or a key is missing or has a wrong type. The message names line and key.
    """
    cure = "Correct the line, or delete the file."
    try:
        lines = path.read_bytes().splitlines() if path.is_file() else []
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}). {cure}") from error
    return [parse_json(line, EpochRow, f"{path}:{number}", cure) for number, line in enumerate(lines, 1)]


class MetricsFile:
    """An observer that adds a line after each epoch.

    Lines of a resumed run beyond its last checkpoint are removed, because those epochs are trained again.
    """

    def __init__(self, path: Path, epochs_done: int) -> None:
        """
        Args:
            path: The file.
            epochs_done: The number of epochs in the checkpoint from which the run resumes, 0 for a new run.
        """
        self.path = path
        self.lines = [json.dumps(row) for row in read_epochs(path) if row["epoch"] <= epochs_done]

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochDone):
            self.lines.append(json.dumps(epoch_row(event)))
            write_text(self.path, "".join(f"{line}\n" for line in self.lines))


def epoch_row(event: EpochDone) -> dict[str, object]:
    """The values of an epoch as they are written to the file."""
    row: dict[str, object] = {
        "epoch": event.epoch,
        "step": event.step,
        "phase": event.phase,
        "loss": event.loss,
        "losses": dict(event.losses),
        "weights": dict(event.weights),
        "lr": dict(event.lr),
        "seconds": round(event.seconds, 3),
        "images_per_second": round(event.images_per_second, 2),
        "best": event.best,
    }
    if event.val is not None:
        summary = event.val.summary()
        scores = {key: summary[key] for key in VAL_SCORES}
        ious = {name: _rounded(iou) for name, iou in zip(event.val.classes, event.val.iou.tolist(), strict=True)}
        row["val"] = {**scores, "loss": event.val_loss, "iou": ious}
    return row


def _rounded(value: float) -> float | None:
    return None if math.isnan(value) else round(value, 6)
