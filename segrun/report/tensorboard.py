"""Curves for TensorBoard (extra `tensorboard`)."""

from __future__ import annotations

from pathlib import Path

from segrun.engine.events import EpochDone, Event, StepDone
from segrun.errors import RequestError


class TensorBoard:
    """Writes to <run folder>/tensorboard; made by the config, it waits for its folder.

    Raises:
        RequestError: tensorboard is not installed.
    """

    def __init__(self) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise RequestError("tracker=[tensorboard] needs: pip install 'segrun[tensorboard]'") from error
        self._make = SummaryWriter

    def __call__(self, folder: Path) -> TensorBoardWriter:
        return TensorBoardWriter(self._make(str(folder / "tensorboard")))


class TensorBoardWriter:
    """Names as in metrics.jsonl: loss, lr/<part>, val/<score>, val/iou/<class>."""

    def __init__(self, writer: object) -> None:
        self.writer = writer

    def __call__(self, event: Event) -> None:
        add = self.writer.add_scalar  # type: ignore[attr-defined]
        if isinstance(event, StepDone):
            add("step/loss", event.loss, event.step)
        elif isinstance(event, EpochDone):
            add("loss", event.loss, event.epoch)
            for part, lr in event.lr.items():
                add(f"lr/{part}", lr, event.epoch)
            if event.val is not None:
                for name in ("miou", "miou_present", "accuracy"):
                    add(f"val/{name}", getattr(event.val, name), event.epoch)
                for name, value in zip(event.val.classes, event.val.iou.tolist(), strict=True):
                    add(f"val/iou/{name}", value, event.epoch)

    def close(self) -> None:
        self.writer.close()  # type: ignore[attr-defined]
