"""TensorBoard (extra `tensorboard`)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from segrun.errors import import_extra
from segrun.events import Event
from segrun.report.trackers.scalars import event_scalars, flat_config, result_scalars
from segrun.report.trackers.trackers import RunStatus


class TensorBoard:
    """A tracker that writes to the folder `tensorboard` in the run folder.

    Raises:
        MissingExtraError: tensorboard is not installed.
    """

    def __init__(self) -> None:
        import_extra("tensorboard", "tensorboard")
        from torch.utils.tensorboard import SummaryWriter

        self._writer_class = SummaryWriter

    def __call__(self, folder: Path) -> TensorBoardRun:
        return TensorBoardRun(self._writer_class(str(folder / "tensorboard")), folder)


class TensorBoardRun:
    """Writes curves during the run, and config and result at its end, for the table of hyperparameters (HPARAMS)."""

    def __init__(self, writer: Any, folder: Path) -> None:
        self.writer, self.folder = writer, folder

    def __call__(self, event: Event) -> None:
        step, scalars = event_scalars(event)
        for name, value in scalars.items():
            self.writer.add_scalar(name, value, step)

    def close(self, status: RunStatus) -> None:
        """Write the status, and the result of a finished run."""
        self.writer.add_text("ended", status)
        if status == "finished":
            config = {key: _hyperparameter(value) for key, value in flat_config(self.folder).items()}
            result = result_scalars(self.folder)
            self.writer.add_hparams(config, result, run_name=".", global_step=int(result["result/best_epoch"]))
        self.writer.close()


def _hyperparameter(value: Any) -> bool | float | str:
    return value if isinstance(value, (bool, int, float, str)) else str(value)
