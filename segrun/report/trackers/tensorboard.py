"""Curves for TensorBoard (extra `tensorboard`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segrun.errors import import_extra
from segrun.events import Event
from segrun.report.trackers.scalars import results, scalars, settings
from segrun.report.trackers.trackers import Ended


class TensorBoard:
    """Writes to <run folder>/tensorboard; made by the config, it waits for its folder.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self) -> None:
        import_extra("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._make = SummaryWriter

    def __call__(self, folder: Path) -> TensorBoardWriter:
        return TensorBoardWriter(self._make(str(folder / "tensorboard")), folder)


class TensorBoardWriter:
    """Curves while the run goes on; config and result at its end, for the table of hyperparameters (HPARAMS)."""

    def __init__(self, writer: Any, folder: Path) -> None:
        self.writer, self.folder = writer, folder

    def __call__(self, event: Event) -> None:
        place, values = scalars(event)
        for name, value in values.items():
            self.writer.add_scalar(name, value, place)

    def close(self, ended: Ended) -> None:
        self.writer.add_text("ended", ended)
        if ended == "finished":
            config = {
                key: value if isinstance(value, (bool, int, float, str)) else str(value)
                for key, value in settings(self.folder).items()
            }
            found = results(self.folder)
            self.writer.add_hparams(config, found, run_name=".", global_step=int(found["result/best_epoch"]))
        self.writer.close()
