"""metrics.jsonl: one object an epoch."""

from __future__ import annotations

import json
from pathlib import Path

from segrun.events import EpochDone, Event
from segrun.files import write_text


class MetricsFile:
    """Adds a line after each epoch. What a run has written beyond `done` epochs, before it was interrupted,
    is cut off: those epochs come again."""

    def __init__(self, path: Path, done: int) -> None:
        self.path = path
        rows = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        self.rows = [row for row in rows if json.loads(row)["epoch"] <= done]

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochDone):
            self.rows.append(json.dumps(row(event)))
            write_text(self.path, "".join(f"{line}\n" for line in self.rows))


def row(event: EpochDone) -> dict[str, object]:
    values: dict[str, object] = {
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
        val = {key: summary[key] for key in ("miou", "miou_present", "mdice", "accuracy")}
        ious = {name: _iou(value) for name, value in zip(event.val.classes, event.val.iou.tolist(), strict=True)}
        values["val"] = {**val, "loss": event.val_loss, "iou": ious}
    return values


def _iou(value: float) -> float | None:
    return None if value != value else round(value, 6)
