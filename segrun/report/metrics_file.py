"""metrics.jsonl: one JSON object per epoch."""

from __future__ import annotations

import json
import math
from pathlib import Path

from segrun.events import EpochDone, Event
from segrun.files import write_text

VAL_SCORES = ("miou", "miou_present", "mdice", "accuracy")


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
        lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.lines = [line for line in lines if json.loads(line)["epoch"] <= epochs_done]

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
