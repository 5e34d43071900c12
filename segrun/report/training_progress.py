"""The progress of a training in the terminal."""

from __future__ import annotations

import math
import sys

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from segrun.events import EpochDone, Event, PhaseEnded, PhaseStarted, StepDone
from segrun.report.formats import percent
from segrun.report.terminal import console, print_line


class TrainingProgress:
    """An observer that shows a progress bar over the steps on a terminal, and prints one line per epoch everywhere."""

    def __init__(self) -> None:
        self.bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]:.3f}  lr {task.fields[lr]:.1e}  {task.fields[speed]:.1f} images/s"),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console(),
            transient=True,
            disable=not sys.stdout.isatty(),
        )
        self.task = self.bar.add_task("", total=None, epoch=1, loss=math.nan, lr=0.0, speed=0.0)
        self.bar.start()

    def __call__(self, event: Event) -> None:
        if isinstance(event, PhaseStarted):
            print_line(f"phase {event.index + 1} ({event.name}): {event.parameters:,} parameters are trained")
        elif isinstance(event, StepDone):
            self._advance(event)
        elif isinstance(event, EpochDone):
            print_line(_epoch_line(event))
        elif isinstance(event, PhaseEnded) and event.audited_tensors:
            print_line(f"freeze audit: {event.audited_tensors} frozen tensors are unchanged, bit for bit")

    def close(self) -> None:
        """Remove the bar."""
        self.bar.stop()

    def _advance(self, event: StepDone) -> None:
        steps_per_second = self.bar.tasks[0].speed or 0
        self.bar.update(
            self.task,
            completed=event.step,
            total=event.steps,
            epoch=event.epoch,
            loss=event.loss,
            lr=event.lr,
            speed=event.images * steps_per_second,
        )


def _epoch_line(event: EpochDone) -> str:
    line = (
        f"epoch {event.epoch:>3}/{event.epochs}  loss {event.loss:.3f}  {event.images_per_second:.1f} images/s  "
        f"{event.seconds:.0f} s"
    )
    if event.val is not None:
        line += f"  val mIoU {percent(event.val.miou)}"
        line += " *" if event.best else ""
    return line
